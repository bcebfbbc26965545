"""The cache of books: what is current, what is no price, and what is asked for once."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import ValidationError

from services.pricer.settings import Settings
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.money import Side
from shared.messages.intents import Missing, QuoteSource
from shared.polymarket.clob import NoMarket
from shared.polymarket.market_data import BookSnapshot, LevelChanged, TickChanged
from shared.testing.waiting import eventually
from tests.builders import NOON, TOKEN, a_book_seen, a_market, levels, seconds, shares
from tests.unit.pricer.harness import (
    INSTANT,
    MAX_AGE,
    PricerCaches,
    a_snapshot,
    best,
    counted,
)


async def test_a_book_from_the_channel_is_used_until_it_is_too_old() -> None:
    pricer = PricerCaches()
    await pricer.know_book_from_channel()

    pricer.clock.now = NOON + MAX_AGE
    fresh = await pricer.book()
    pricer.clock.now += INSTANT
    old = await pricer.book()

    assert (fresh.source, best(fresh), fresh.fetched_at) == (
        QuoteSource.SOCKET,
        ("0.45", "0.55"),
        NOON,
    )
    assert (old.source, best(old), old.fetched_at) == (
        QuoteSource.REST,
        ("0.40", "0.60"),
        pricer.clock.now,
    )


async def test_concurrent_requests_for_a_book_cause_one_request_to_the_venue() -> None:
    pricer = PricerCaches()
    pricer.clob.may_reply.clear()
    requests = [asyncio.create_task(pricer.book()) for _ in range(50)]
    await eventually(lambda: pricer.clob.requested)
    pricer.clob.may_reply.set()

    books = await asyncio.gather(*requests)

    assert pricer.clob.requested == [TOKEN]
    assert all(book == books[0] for book in books)


async def test_a_fetched_book_is_reused_and_its_age_counts_from_its_request() -> None:
    pricer = PricerCaches()
    pricer.clob.may_reply.clear()
    request = asyncio.create_task(pricer.book())
    await eventually(lambda: pricer.clob.requested)
    pricer.clock.now += seconds(1)
    pricer.clob.may_reply.set()

    assert (await request).fetched_at == NOON
    assert (await pricer.book()).fetched_at == NOON
    pricer.clock.now = NOON + MAX_AGE + INSTANT
    assert (await pricer.book()).fetched_at == pricer.clock.now


@pytest.mark.parametrize(
    ("failure", "missing", "attempts"),
    [
        (NoMarket("/book"), Missing.NO_MARKET, 1),
        (Transient("away"), Missing.UNAVAILABLE, 2),
        (InvalidMessage("price: no"), Missing.UNAVAILABLE, 2),
    ],
)
async def test_a_failed_fetch_gives_its_reason_and_is_not_cached(
    failure: Exception, missing: Missing, attempts: int
) -> None:
    pricer = PricerCaches()
    pricer.clob.fail(failure)

    assert await pricer.quotes.fetch_book(TOKEN) is missing
    assert await pricer.markets.fetch_market(TOKEN) is missing
    assert pricer.clob.requested == [TOKEN] * 2 * attempts
    pricer.clob.failures = []
    assert await pricer.book() is not None
    assert await pricer.market() == a_market()


async def test_one_failure_is_retried_at_once() -> None:
    """A single 500 must not cost an exit its book."""
    pricer = PricerCaches()
    pricer.clob.fail(times=1)
    assert (await pricer.book()).source is QuoteSource.REST

    pricer.clob.fail(times=1)
    assert await pricer.market() == a_market()


async def test_all_attempts_together_end_at_the_timeout() -> None:
    pricer = PricerCaches(fetch_timeout=timedelta(milliseconds=1))
    pricer.clob.may_reply.clear()

    assert await pricer.quotes.fetch_book(TOKEN) is Missing.UNAVAILABLE
    assert await pricer.markets.fetch_market(TOKEN) is Missing.UNAVAILABLE


@pytest.mark.parametrize(
    ("book", "fault"),
    [
        (("0.60", "0.60"), "crossed"),
        (("0.61", "0.60"), "crossed"),
        (("0.01", "0.99"), "ghost"),
        (("0.001", "0.999"), "ghost"),
    ],
)
async def test_a_book_without_a_price_is_counted_and_the_next_source_is_asked(
    book: tuple[str, str], fault: str
) -> None:
    pricer = PricerCaches()
    await pricer.know_book_from_channel()
    pricer.clock.now += MAX_AGE + INSTANT
    before = counted("books_unusable", fault=fault)

    pricer.quotes.apply(a_snapshot(*book))
    assert (await pricer.book()).source is QuoteSource.REST
    assert counted("books_unusable", fault=fault) == before + 1

    pricer.clob.book = book
    pricer.clock.now += MAX_AGE + INSTANT
    assert await pricer.quotes.fetch_book(TOKEN) is Missing.UNAVAILABLE
    last_book = pricer.quotes.last_book(TOKEN)
    assert last_book is not None
    assert best(last_book) == ("0.40", "0.60")


@pytest.mark.parametrize("book", [("0.01", "0.98"), ("0.02", "0.99"), ("0.49", "0.50")])
async def test_a_wide_or_a_narrow_book_is_a_book(book: tuple[str, str]) -> None:
    pricer = PricerCaches()
    pricer.clob.book = book

    assert best(await pricer.book()) == book


async def test_an_empty_book_is_a_book_and_not_a_failure() -> None:
    pricer = PricerCaches()
    await pricer.know_book_from_channel()

    pricer.quotes.apply(BookSnapshot(token_id=TOKEN, bids=(), asks=()))

    book = await pricer.book()
    assert (book.bids, book.asks, book.source) == ((), (), QuoteSource.SOCKET)


async def test_after_a_reconnection_every_book_is_unknown_until_its_snapshot() -> None:
    pricer = PricerCaches()
    await pricer.know_book_from_channel()
    pricer.clock.now += MAX_AGE + INSTANT
    pricer.quotes.apply(a_snapshot("0.45", "0.55"))

    pricer.quotes.invalidate_books()
    pricer.quotes.apply(
        LevelChanged(token_id=TOKEN, side=Side.BUY, price=Decimal("0.99"), shares=shares(1))
    )
    unknown = await pricer.book()
    pricer.quotes.apply(a_snapshot("0.46", "0.54"))

    assert unknown.source is QuoteSource.REST
    assert best(await pricer.book()) == ("0.46", "0.54")


async def test_a_new_tick_size_invalidates_the_book() -> None:
    pricer = PricerCaches()
    await pricer.know_book_from_channel()
    pricer.clock.now += MAX_AGE + INSTANT
    pricer.quotes.apply(a_snapshot("0.45", "0.55"))

    pricer.quotes.apply(TickChanged(token_id=TOKEN))

    assert (await pricer.book()).source is QuoteSource.REST


@pytest.mark.parametrize("age", [timedelta(0), MAX_AGE, -MAX_AGE], ids=str)
async def test_a_book_shared_by_another_instance_is_used_while_it_is_fresh(age: timedelta) -> None:
    pricer = PricerCaches()
    await pricer.shared.put(
        a_book_seen(fetched_at=NOON - age, bids=levels(("0.30", 1)), asks=levels(("0.70", 1)))
    )

    book = await pricer.book()

    assert (book.source, best(book), book.fetched_at) == (
        QuoteSource.SHARED,
        ("0.30", "0.70"),
        NOON - age,
    )
    assert pricer.clob.requested == []


@pytest.mark.parametrize(
    "age", [MAX_AGE + INSTANT, timedelta(days=1), -MAX_AGE - INSTANT, -timedelta(days=1)], ids=str
)
async def test_a_shared_book_that_is_too_old_or_from_the_future_is_not_used(
    age: timedelta,
) -> None:
    pricer = PricerCaches()
    await pricer.shared.put(a_book_seen(fetched_at=NOON - age))

    assert (await pricer.book()).source is QuoteSource.REST


@pytest.mark.parametrize("entry", [b"", b"{", b"{}", b'{"token_id": 7}'])
async def test_an_unreadable_cache_entry_counts_as_missing(entry: bytes) -> None:
    pricer = PricerCaches()
    pricer.shared.entries[TOKEN] = entry

    assert (await pricer.book()).source is QuoteSource.REST


async def test_a_token_is_subscribed_on_its_first_request_and_unsubscribed_when_evicted() -> None:
    pricer = PricerCaches(max_tokens=2)

    for token in ("1", "2", "1", "3"):
        await pricer.quotes.fetch_book(token)

    assert pricer.take_subscription_changes() == [
        ("subscribe", ("1",)),
        ("subscribe", ("2",)),
        ("unsubscribe", ("2",)),
        ("subscribe", ("3",)),
    ]
    assert pricer.quotes.tracked_tokens() == ["1", "3"]
    pricer.quotes.apply(a_snapshot("0.1", "0.2", token_id="2"))
    assert pricer.quotes.peek("2") is None


async def test_a_thousand_askers_make_one_request_and_are_counted() -> None:
    pricer = PricerCaches()
    pricer.clob.may_reply.clear()
    names = ("hit", "shared", "miss")

    def requests() -> list[float]:
        return [counted("cache_requests", cache="quotes", result=name) for name in names]

    before = requests()
    asking = [asyncio.create_task(pricer.book()) for _ in range(1000)]
    await eventually(lambda: pricer.clob.requested)
    pricer.clob.may_reply.set()
    await asyncio.gather(*asking)
    await pricer.book()

    assert pricer.clob.requested == [TOKEN]
    assert [now - then for now, then in zip(requests(), before, strict=True)] == [1, 999, 1]


async def test_evictions_are_counted_by_age_and_by_size_and_memory_is_bounded() -> None:
    pricer = PricerCaches(max_tokens=1)

    def evictions() -> tuple[float, float]:
        return (
            counted("cache_evictions", cache="quotes", reason="age"),
            counted("cache_evictions", cache="quotes", reason="size"),
        )

    age, size = evictions()
    await pricer.book()
    pricer.clock.now += MAX_AGE + INSTANT
    await pricer.book()
    assert evictions() == (age + 1, size)

    for number in range(1, 50):
        await pricer.book(str(number))
    assert evictions() == (age + 1, size + 49)
    assert pricer.quotes.tracked_tokens() == ["49"]
    assert pricer.quotes.last_book(TOKEN) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAX_TOKENS", "0"),
        ("MAX_TOKENS", "-1"),
        ("MAX_TOKENS", "501"),
        ("MAX_TOKENS", "many"),
        ("MAX_BOOK_AGE", "-PT1S"),
        ("MAX_LEADER_PRICE_AGE", "-PT1S"),
        ("MAX_BOUND_AGE", "-PT1S"),
        ("MARKET_VALID_FOR", "-PT1S"),
        ("FETCH_TIMEOUT", "PT0S"),
        ("SHARE_INTERVAL", "-PT1S"),
        ("SOCKET_PING_INTERVAL", "PT0S"),
        ("MAX_LAST_BOOK_AGE", "PT1S"),  # shorter than a current book's
        ("MAX_LAST_BOOK_AGE", "PT61S"),  # longer than the bound's
    ],
)
def test_nonsense_limits_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"PRICER_{variable}", value)

    with pytest.raises(ValidationError, match=f"(?i){variable}"):
        Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MAX_TOKENS", "1"), ("MAX_BOOK_AGE", "PT0S"), ("MARKET_VALID_FOR", "PT0S")],
)
def test_the_smallest_limits_are_accepted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"PRICER_{variable}", value)

    Settings()
