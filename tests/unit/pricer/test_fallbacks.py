"""What an intent is quoted with where no current book can be had: each source in turn, within its
own limit, and bounded by something other than itself.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.pricer.decisions import (
    Book,
    PriceSeen,
    VenuePrices,
    price_by_last_book,
    price_without_book,
)
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.intents import Bound, Missing, NoQuote, Quote, QuoteSource
from shared.polymarket.clob import NoMarket
from shared.polymarket.market_data import BookSnapshot
from tests.builders import NOON, TOKEN, a_market, an_intent, level, seconds, shares, usdc
from tests.unit.pricer.harness import INSTANT, LIMITS, MAX_AGE, PricerCaches, a_snapshot, counted

BOOK = Book(
    bids=(level("0.49", 100),),
    asks=(level("0.51", 100),),
    fetched_at=NOON,
    source=QuoteSource.SOCKET,
)
NOTHING = VenuePrices()
UNAVAILABLE = NoQuote(missing=Missing.UNAVAILABLE)


def seen(price: str, at: datetime = NOON) -> PriceSeen:
    return PriceSeen(price=Decimal(price), seen_at=at)


def without_book(
    prices: VenuePrices = NOTHING,
    *,
    last_book: Book | None = None,
    now: datetime = NOON,
    **intent: Any,
) -> Quote | NoQuote:
    return price_without_book(
        an_intent(**{"filled_at": NOON} | intent),
        market=a_market(),
        last_book=last_book,
        prices=prices,
        limits=LIMITS,
        now=now,
    )


def source_and_bound(quote: Quote | NoQuote) -> tuple[str, str | None] | None:
    if isinstance(quote, NoQuote):
        return None
    return quote.source, None if quote.bound is None else str(quote.bound.price)


@pytest.mark.parametrize(
    ("age", "is_used"),
    [
        (timedelta(0), True),
        (LIMITS.max_last_book_age, True),
        (LIMITS.max_last_book_age + INSTANT, False),
        (-LIMITS.max_last_book_age - INSTANT, False),
    ],
    ids=str,
)
def test_the_last_good_book_is_walked_within_its_own_limit(age: timedelta, is_used: bool) -> None:
    quote = price_by_last_book(an_intent(), BOOK, market=a_market(), limits=LIMITS, now=NOON + age)

    assert (quote is not None) is is_used
    if quote is not None:
        assert (quote.source, str(quote.best), quote.fetched_at, quote.bound) == (
            QuoteSource.LAST_BOOK,
            "0.51",
            NOON,
            None,
        )


def test_a_copy_of_no_trade_has_no_price_of_the_leader() -> None:
    """By the same bound the leader's price would do."""
    assert without_book(last_book=BOOK) != UNAVAILABLE
    assert without_book(last_book=BOOK, leader_price=None) == UNAVAILABLE


def test_a_last_book_with_nothing_to_take_is_passed_over() -> None:
    empty = Book(bids=BOOK.bids, asks=(), fetched_at=NOON, source=QuoteSource.REST)

    assert (
        price_by_last_book(an_intent(), empty, market=a_market(), limits=LIMITS, now=NOON) is None
    )


@pytest.mark.parametrize(
    ("prices", "last_book", "expected"),
    [
        (VenuePrices(midpoint=seen("0.505")), None, ("midpoint", None)),
        (VenuePrices(midpoint=seen("0.505")), BOOK, ("midpoint", "0.51")),
        (VenuePrices(midpoint=seen("0.505"), last_trade=seen("0.52")), None, ("midpoint", None)),
        # a midpoint of a half is that of an empty or a ghost book
        (VenuePrices(midpoint=seen("0.5")), None, None),
        (VenuePrices(midpoint=seen("0.5"), last_trade=seen("0.52")), None, None),
        # the last trade may be the leader's own: it needs a bound
        (VenuePrices(last_trade=seen("0.52")), None, None),
        (VenuePrices(last_trade=seen("0.52")), BOOK, ("last_trade", "0.51")),
        (
            VenuePrices(midpoint=seen("0.48", NOON - seconds(3)), last_trade=seen("0.52")),
            None,
            ("last_trade", "0.48"),
        ),
        # the newer of both bounds
        (
            VenuePrices(midpoint=seen("0.48", NOON - seconds(3)), last_trade=seen("0.52")),
            BOOK,
            ("last_trade", "0.51"),
        ),
        (NOTHING, None, None),
        (NOTHING, BOOK, ("leader", "0.51")),
        (VenuePrices(midpoint=seen("0.48", NOON - seconds(3))), None, ("leader", "0.48")),
        (VenuePrices(last_trade=seen("0.52", NOON - seconds(3))), BOOK, ("leader", "0.51")),
    ],
)
def test_the_first_price_that_is_new_enough_and_bounded_is_used(
    prices: VenuePrices, last_book: Book | None, expected: tuple[str, str | None] | None
) -> None:
    assert source_and_bound(without_book(prices, last_book=last_book)) == expected


@pytest.mark.parametrize(
    ("age", "is_used"),
    [(LIMITS.max_leader_price_age, True), (LIMITS.max_leader_price_age + INSTANT, False)],
    ids=str,
)
def test_the_leaders_price_has_a_tight_limit(age: timedelta, is_used: bool) -> None:
    quote = without_book(last_book=BOOK, filled_at=NOON - age)

    assert source_and_bound(quote) == (("leader", "0.51") if is_used else None)
    if isinstance(quote, Quote):
        assert quote.fetched_at == NOON - age


@pytest.mark.parametrize(
    ("age", "is_used"),
    [(LIMITS.max_bound_age, True), (LIMITS.max_bound_age + INSTANT, False)],
    ids=str,
)
def test_a_bound_has_a_limit_of_its_own(age: timedelta, is_used: bool) -> None:
    quote = without_book(last_book=BOOK, now=NOON + age, filled_at=NOON + age)

    assert source_and_bound(quote) == (("leader", "0.51") if is_used else None)
    if isinstance(quote, Quote):
        assert quote.bound == Bound(price=Decimal("0.51"), seen_at=NOON)


def test_a_fallback_price_is_one_level_with_all_that_the_intent_takes() -> None:
    prices = VenuePrices(midpoint=seen("0.4"))
    entry, exit_ = without_book(prices), without_book(prices, side=Side.SELL)

    assert isinstance(entry, Quote)
    assert (entry.shares, entry.usdc, entry.complete, len(entry.levels)) == (
        shares("12.5"),
        usdc(5),
        True,
        1,
    )
    assert isinstance(exit_, Quote)
    assert (exit_.shares, exit_.usdc, str(exit_.best)) == (shares(10), usdc(4), "0.4")
    assert (entry.opposite_best, exit_.opposite_best) == (None, None)  # it has no spread


def test_an_exit_is_bounded_by_the_bids() -> None:
    quote = without_book(last_book=BOOK, side=Side.SELL)

    assert source_and_bound(quote) == ("leader", "0.49")


@pytest.mark.parametrize("nothing", [{"usdc": 0}, {"side": Side.SELL, "shares": 0}])
def test_an_intent_of_size_zero_gets_no_quote(nothing: dict[str, Any]) -> None:
    assert isinstance(without_book(VenuePrices(midpoint=seen("0.4")), **nothing), NoQuote)


async def known_then_failing() -> PricerCaches:
    """A pricer that has seen a book and its market, at a venue whose books now fail."""
    pricer = PricerCaches()
    assert isinstance(await pricer.quote(), Quote)
    pricer.clob.fail()
    return pricer


async def test_each_source_is_used_once_the_one_before_is_too_old_and_is_counted() -> None:
    pricer = await known_then_failing()
    before = {source: counted("quotes", source=source) for source in QuoteSource}
    for age, midpoint, last_trade, source in (
        (3, Transient(""), Transient(""), "last_book"),
        (16, Decimal("0.55"), Decimal("0.56"), "midpoint"),
        (19, Transient(""), Decimal("0.56"), "last_trade"),
        (22, Transient(""), Transient(""), "leader"),
        (90, Transient(""), Transient(""), None),
    ):
        pricer.clock.now = NOON + seconds(age)
        pricer.clob.midpoint, pricer.clob.last_trade = midpoint, last_trade
        quote = await pricer.quote(filled_at=pricer.clock.now)
        assert (quote.source if isinstance(quote, Quote) else None) == source, quote

    for source in ("last_book", "midpoint", "last_trade", "leader"):
        assert counted("quotes", source=source) == before[QuoteSource(source)] + 1


async def test_the_next_quote_comes_from_the_book_again() -> None:
    pricer = await known_then_failing()
    pricer.clock.now += MAX_AGE + INSTANT
    assert source_and_bound(await pricer.quote()) == ("last_book", None)

    pricer.clob.failures = []
    assert source_and_bound(await pricer.quote()) == ("rest", None)


async def test_a_market_without_a_book_has_no_fallback() -> None:
    pricer = await known_then_failing()
    pricer.clob.fail(NoMarket("/book"))
    pricer.clock.now += MAX_AGE + INSTANT

    assert await pricer.quote() == NoQuote(missing=Missing.NO_MARKET)


async def test_an_empty_book_has_no_fallback() -> None:
    pricer = PricerCaches()
    pricer.clob.midpoint = Decimal("0.4")
    await pricer.know_book_from_channel()
    pricer.quotes.apply(BookSnapshot(token_id=TOKEN, bids=(), asks=()))

    assert await pricer.quote() == NoQuote(missing=Missing.EMPTY_BOOK)


async def test_a_market_that_stands_at_the_edges_is_refused_and_not_quoted_at_a_half() -> None:
    pricer = PricerCaches()
    pricer.clob.book = ("0.01", "0.99")
    pricer.clob.midpoint, pricer.clob.last_trade = Decimal("0.5"), Decimal("0.5")

    assert await pricer.quote(filled_at=NOON) == UNAVAILABLE


async def test_a_book_that_was_lost_with_its_socket_is_the_last_good_one() -> None:
    pricer = PricerCaches()
    await pricer.know_book_from_channel()
    await pricer.market()
    pricer.clock.now += seconds(5)
    pricer.quotes.apply(a_snapshot("0.44", "0.54"))
    pricer.quotes.invalidate_books()
    pricer.clob.fail()

    quote = await pricer.quote()
    assert isinstance(quote, Quote)
    assert (quote.source, str(quote.best)) == (QuoteSource.LAST_BOOK, "0.54")
    assert quote.fetched_at == NOON + seconds(5)
