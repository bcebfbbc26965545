"""The caches of books and markets, and the feed that keeps the books current."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.pricer.adapters import MarketCache, MarketChannelFeed, QuoteCache
from services.pricer.decisions import Book
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.dead_letters import FrameParked
from shared.messages.intents import Missing, QuoteSource
from shared.observe.metrics import Feed
from shared.polymarket.clob import Clob, NoMarket
from shared.polymarket.market_data import BookSnapshot, LevelChanged, Market, TickChanged
from shared.polymarket.settings import VenueSettings
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.testing.waiting import eventually
from tests.builders import NOON, TOKEN, a_book_seen, a_market, level, levels, seconds, shares
from tests.fakes import Clock, FakeSharedCache

MAX_AGE = seconds(2)
INSTANT = timedelta(microseconds=1)


class FakeClob(Clob):
    """Replies once ``may_reply`` is set, raises the given failures first, and records requests."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(VenueSettings(), now=clock)
        self.requested: list[str] = []
        self.failures: list[Exception] = []
        self.may_reply = asyncio.Event()
        self.may_reply.set()

    async def fetch_book(self, token_id: str) -> BookSnapshot:
        await self._record_request(token_id)
        return a_snapshot("0.40", "0.60", token_id=token_id)

    async def fetch_market(self, token_id: str) -> Market:
        await self._record_request(token_id)
        return a_market()

    async def _record_request(self, token_id: str) -> None:
        self.requested.append(token_id)
        await self.may_reply.wait()
        if self.failures:
            raise self.failures.pop(0)


class PricerCaches:
    def __init__(self, *, max_tokens: int = 3) -> None:
        self.clock, self.shared = Clock(NOON), FakeSharedCache()
        self.clob = FakeClob(self.clock)
        self.quotes = QuoteCache(
            self.clob, self.shared, now=self.clock, max_age=MAX_AGE, max_tokens=max_tokens
        )
        self.markets = MarketCache(
            self.clob, now=self.clock, valid_for=seconds(600), max_tokens=max_tokens
        )

    async def book(self, token_id: str = TOKEN) -> Book:
        book = await self.quotes.fetch_book(token_id)
        assert isinstance(book, Book)
        return book

    async def know_book_from_channel(self, token_id: str = TOKEN) -> None:
        """Have the token requested, and its book known from the market channel."""
        await self.quotes.fetch_book(token_id)
        self.quotes.apply(a_snapshot("0.45", "0.55", token_id=token_id))
        self.clob.requested.clear()

    def take_subscription_changes(self) -> list[tuple[str, str]]:
        return [
            self.quotes.subscription_changes.get_nowait()
            for _ in range(self.quotes.subscription_changes.qsize())
        ]


def a_snapshot(bid: str, ask: str, *, token_id: str = TOKEN) -> BookSnapshot:
    return BookSnapshot(token_id=token_id, bids=(level(bid, 100),), asks=(level(ask, 100),))


def best(book: Book) -> tuple[str, str]:
    return str(book.bids[0].price), str(book.asks[0].price)


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
    ("failure", "missing"),
    [
        (NoMarket("/book"), Missing.NO_MARKET),
        (Transient("away"), Missing.UNAVAILABLE),
        (InvalidMessage("price: no"), Missing.UNAVAILABLE),
    ],
)
async def test_a_failed_fetch_gives_its_reason_and_is_not_cached(
    failure: Exception, missing: Missing
) -> None:
    pricer = PricerCaches()
    pricer.clob.failures = [failure, failure]

    assert await pricer.quotes.fetch_book(TOKEN) is missing
    assert await pricer.markets.fetch_market(TOKEN) is missing
    assert await pricer.book() is not None
    assert await pricer.markets.fetch_market(TOKEN) == a_market()


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
        ("subscribe", "1"),
        ("subscribe", "2"),
        ("unsubscribe", "2"),
        ("subscribe", "3"),
    ]
    assert pricer.quotes.tracked_tokens() == ["1", "3"]
    assert pricer.quotes.apply(a_snapshot("0.1", "0.2", token_id="2")) is None


async def test_a_market_is_fetched_once_per_validity_and_again_after_a_change() -> None:
    pricer = PricerCaches()
    for moment in (NOON, NOON + seconds(600)):
        pricer.clock.now = moment
        assert await pricer.markets.fetch_market(TOKEN) == a_market()
    assert pricer.clob.requested == [TOKEN]

    pricer.clock.now += INSTANT
    await pricer.markets.fetch_market(TOKEN)
    pricer.markets.invalidate(TOKEN)
    await pricer.markets.fetch_market(TOKEN)

    assert pricer.clob.requested == [TOKEN] * 3


async def test_a_market_that_changes_during_its_fetch_is_not_cached() -> None:
    pricer = PricerCaches()
    pricer.clob.may_reply.clear()
    request = asyncio.create_task(pricer.markets.fetch_market(TOKEN))
    await eventually(lambda: pricer.clob.requested)

    pricer.markets.invalidate(TOKEN)
    pricer.clob.may_reply.set()
    await request

    await pricer.markets.fetch_market(TOKEN)
    assert pricer.clob.requested == [TOKEN, TOKEN]


class FakeChannel(Channel):
    """A channel with the frames that a test provides; None is a new socket."""

    def __init__(self) -> None:
        super().__init__(
            ChannelSettings(
                name=Feed.MARKET, url="", ping_interval_s=1, silence_timeout_s=1, pong_is_alive=True
            ),
            list,
        )
        self.incoming: asyncio.Queue[str | None] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []

    async def frames(self) -> AsyncIterator[str | None]:
        while True:
            yield await self.incoming.get()
            self.incoming.task_done()

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))


class RunningFeed:
    """The caches with their feed running."""

    def __init__(self) -> None:
        self.pricer, self.channel, self.parked = PricerCaches(), FakeChannel(), list[Message]()

    async def __aenter__(self) -> "RunningFeed":
        pricer = self.pricer
        feed = MarketChannelFeed(
            self.channel,
            pricer.quotes,
            pricer.markets,
            pricer.shared,
            now=pricer.clock,
            share_interval=timedelta(milliseconds=500),
        )
        self.task = asyncio.create_task(feed(self._publish))
        await pricer.quotes.fetch_book(TOKEN)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _publish(self, message: Message) -> None:
        self.parked.append(message)

    async def receive(self, *frames: dict[str, Any] | str | None) -> None:
        for frame in frames:
            self.channel.incoming.put_nowait(
                json.dumps(frame) if isinstance(frame, dict) else frame
            )
        # Once this one is taken, the frames before it have been handled.
        self.channel.incoming.put_nowait("")
        await eventually(self.channel.incoming.empty)


def a_frame(bid: str) -> dict[str, Any]:
    return {
        "event_type": "book",
        "asset_id": TOKEN,
        "bids": [{"price": bid, "size": "9"}],
        "asks": [{"price": "0.9", "size": "9"}],
    }


async def test_a_requested_token_is_subscribed_on_the_open_channel() -> None:
    async with RunningFeed() as running:
        await running.pricer.quotes.fetch_book("12")

        await eventually(
            lambda: {"operation": "subscribe", "assets_ids": ["12"]} in running.channel.sent
        )


async def test_a_changing_book_is_shared_at_most_once_per_interval() -> None:
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"), a_frame("0.42"))
        first = running.pricer.shared.entries[TOKEN]
        running.pricer.clock.now += timedelta(milliseconds=500)
        await running.receive(a_frame("0.43"))

        assert b'"0.41"' in first
        assert b'"0.43"' in running.pricer.shared.entries[TOKEN]


async def test_an_unreadable_frame_is_parked_and_invalidates_every_book() -> None:
    """The frame may have been a change: books without it are wrong until their next snapshot."""
    change = {
        "event_type": "price_change",
        "price_changes": [{"asset_id": TOKEN, "price": "7", "size": "1", "side": "BUY"}],
    }
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"), change)
        running.pricer.clock.now += seconds(1)

        (parked,) = running.parked
        assert isinstance(parked, FrameParked)
        assert "price" in parked.reason
        assert (await running.pricer.book()).source is not QuoteSource.SOCKET


async def test_a_new_socket_invalidates_the_books() -> None:
    async with RunningFeed() as running:
        await running.receive(a_frame("0.41"), None)

        assert (await running.pricer.book()).source is not QuoteSource.SOCKET
