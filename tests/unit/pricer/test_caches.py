"""A book is used while it is young, asked for once by all who want it, and never taken for another."""

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
from tests.fakes import Clock, SharedTable

MAX_AGE = seconds(2)
INSTANT = timedelta(microseconds=1)


class FakeClob(Clob):
    """Answers in turn, when it is let, and counts how often it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(VenueSettings(), now=clock)
        self.asked: list[str] = []
        self.failures: list[Exception] = []
        self.open = asyncio.Event()
        self.open.set()

    async def fetch_book(self, token_id: str) -> BookSnapshot:
        await self._asked(token_id)
        return a_snapshot("0.40", "0.60", token_id=token_id)

    async def fetch_market(self, token_id: str) -> Market:
        await self._asked(token_id)
        return a_market()

    async def _asked(self, token_id: str) -> None:
        self.asked.append(token_id)
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)


class Pricer:
    def __init__(self, *, max_tokens: int = 3) -> None:
        self.clock, self.shared = Clock(NOON), SharedTable()
        self.clob = FakeClob(self.clock)
        self.quotes = QuoteCache(
            self.clob, self.shared, now=self.clock, max_age=MAX_AGE, max_tokens=max_tokens
        )
        self.markets = MarketCache(
            self.clob, now=self.clock, valid_for=seconds(600), max_tokens=max_tokens
        )

    async def book(self, token_id: str = TOKEN) -> Book:
        found = await self.quotes.fetch_book(token_id)
        assert isinstance(found, Book)
        return found

    async def subscribed(self, token_id: str = TOKEN) -> None:
        """The token has been asked for, and the socket has told its book."""
        await self.quotes.fetch_book(token_id)
        self.quotes.apply(a_snapshot("0.45", "0.55", token_id=token_id))
        self.clob.asked.clear()

    def changes(self) -> list[tuple[str, str]]:
        return [self.quotes.changes.get_nowait() for _ in range(self.quotes.changes.qsize())]


def a_snapshot(bid: str, ask: str, *, token_id: str = TOKEN) -> BookSnapshot:
    return BookSnapshot(token_id=token_id, bids=(level(bid, 100),), asks=(level(ask, 100),))


def best(book: Book) -> tuple[str, str]:
    return str(book.bids[0].price), str(book.asks[0].price)


async def test_a_book_that_the_socket_told_is_used_until_it_is_too_old() -> None:
    pricer = Pricer()
    await pricer.subscribed()

    pricer.clock.now = NOON + MAX_AGE
    young = await pricer.book()
    pricer.clock.now += INSTANT
    old = await pricer.book()

    assert (young.source, best(young), young.fetched_at) == (
        QuoteSource.SOCKET,
        ("0.45", "0.55"),
        NOON,
    )
    assert (old.source, best(old), old.fetched_at) == (
        QuoteSource.REST,
        ("0.40", "0.60"),
        pricer.clock.now,
    )


async def test_all_who_ask_at_once_cause_one_request() -> None:
    pricer = Pricer()
    pricer.clob.open.clear()
    asking = [asyncio.create_task(pricer.book()) for _ in range(50)]
    await eventually(lambda: pricer.clob.asked)
    pricer.clob.open.set()

    books = await asyncio.gather(*asking)

    assert pricer.clob.asked == [TOKEN]
    assert all(book == books[0] for book in books)


async def test_what_was_just_fetched_is_used_again_and_counts_from_when_it_was_asked_for() -> None:
    pricer = Pricer()
    pricer.clob.open.clear()
    asking = asyncio.create_task(pricer.book())
    await eventually(lambda: pricer.clob.asked)
    pricer.clock.now += seconds(1)
    pricer.clob.open.set()

    assert (await asking).fetched_at == NOON
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
async def test_a_failure_says_why_and_is_not_kept(failure: Exception, missing: Missing) -> None:
    pricer = Pricer()
    pricer.clob.failures = [failure, failure]

    assert await pricer.quotes.fetch_book(TOKEN) is missing
    assert await pricer.markets.fetch_market(TOKEN) is missing
    assert await pricer.book() is not None
    assert await pricer.markets.fetch_market(TOKEN) == a_market()


async def test_an_empty_book_is_an_answer_and_not_a_failure() -> None:
    pricer = Pricer()
    await pricer.subscribed()

    pricer.quotes.apply(BookSnapshot(token_id=TOKEN, bids=(), asks=()))

    book = await pricer.book()
    assert (book.bids, book.asks, book.source) == ((), (), QuoteSource.SOCKET)


async def test_after_a_new_socket_every_book_is_void_until_its_snapshot() -> None:
    pricer = Pricer()
    await pricer.subscribed()
    pricer.clock.now += MAX_AGE + INSTANT
    pricer.quotes.apply(a_snapshot("0.45", "0.55"))

    pricer.quotes.forget_books()
    pricer.quotes.apply(
        LevelChanged(token_id=TOKEN, side=Side.BUY, price=Decimal("0.99"), shares=shares(1))
    )
    void = await pricer.book()
    pricer.quotes.apply(a_snapshot("0.46", "0.54"))

    assert void.source is QuoteSource.REST
    assert best(await pricer.book()) == ("0.46", "0.54")


async def test_a_new_tick_size_voids_the_book() -> None:
    pricer = Pricer()
    await pricer.subscribed()
    pricer.clock.now += MAX_AGE + INSTANT
    pricer.quotes.apply(a_snapshot("0.45", "0.55"))

    pricer.quotes.apply(TickChanged(token_id=TOKEN))

    assert (await pricer.book()).source is QuoteSource.REST


@pytest.mark.parametrize("age", [timedelta(0), MAX_AGE, -MAX_AGE], ids=str)
async def test_what_another_instance_told_is_used_while_it_is_young(age: timedelta) -> None:
    pricer = Pricer()
    await pricer.shared.put(
        a_book_seen(fetched_at=NOON - age, bids=levels(("0.30", 1)), asks=levels(("0.70", 1)))
    )

    book = await pricer.book()

    assert (book.source, best(book), book.fetched_at) == (
        QuoteSource.SHARED,
        ("0.30", "0.70"),
        NOON - age,
    )
    assert pricer.clob.asked == []


@pytest.mark.parametrize(
    "age", [MAX_AGE + INSTANT, timedelta(days=1), -MAX_AGE - INSTANT, -timedelta(days=1)], ids=str
)
async def test_what_another_instance_told_long_ago_or_by_a_clock_that_runs_ahead_is_not_used(
    age: timedelta,
) -> None:
    pricer = Pricer()
    await pricer.shared.put(a_book_seen(fetched_at=NOON - age))

    assert (await pricer.book()).source is QuoteSource.REST


@pytest.mark.parametrize("entry", [b"", b"{", b"{}", b'{"token_id": 7}'])
async def test_an_entry_that_cannot_be_read_is_as_good_as_none(entry: bytes) -> None:
    pricer = Pricer()
    pricer.shared.entries[TOKEN] = entry

    assert (await pricer.book()).source is QuoteSource.REST


async def test_a_token_is_subscribed_when_it_is_first_asked_for_and_dropped_when_it_falls_out() -> (
    None
):
    pricer = Pricer(max_tokens=2)

    for token in ("1", "2", "1", "3"):
        await pricer.quotes.fetch_book(token)

    assert pricer.changes() == [
        ("subscribe", "1"),
        ("subscribe", "2"),
        ("unsubscribe", "2"),
        ("subscribe", "3"),
    ]
    assert pricer.quotes.tokens() == ["1", "3"]
    assert pricer.quotes.apply(a_snapshot("0.1", "0.2", token_id="2")) is None


async def test_a_market_is_asked_for_once_in_its_time_and_again_when_it_has_changed() -> None:
    pricer = Pricer()
    for moment in (NOON, NOON + seconds(600)):
        pricer.clock.now = moment
        assert await pricer.markets.fetch_market(TOKEN) == a_market()
    assert pricer.clob.asked == [TOKEN]

    pricer.clock.now += INSTANT
    await pricer.markets.fetch_market(TOKEN)
    pricer.markets.forget(TOKEN)
    await pricer.markets.fetch_market(TOKEN)

    assert pricer.clob.asked == [TOKEN] * 3


async def test_a_market_that_changes_while_it_is_asked_for_is_not_kept_as_it_was() -> None:
    pricer = Pricer()
    pricer.clob.open.clear()
    asking = asyncio.create_task(pricer.markets.fetch_market(TOKEN))
    await eventually(lambda: pricer.clob.asked)

    pricer.markets.forget(TOKEN)
    pricer.clob.open.set()
    await asking

    await pricer.markets.fetch_market(TOKEN)
    assert pricer.clob.asked == [TOKEN, TOKEN]


class FakeChannel(Channel):
    """Frames that a test gives; None is a new socket."""

    def __init__(self) -> None:
        super().__init__(
            ChannelSettings(
                name=Feed.MARKET, url="", ping_every_s=1, silent_after_s=1, pongs_count=True
            ),
            list,
        )
        self.given: asyncio.Queue[str | None] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []

    async def frames(self) -> AsyncIterator[str | None]:
        while True:
            yield await self.given.get()
            self.given.task_done()

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))


class Following:
    """A pricer whose feed runs."""

    def __init__(self) -> None:
        self.pricer, self.channel, self.parked = Pricer(), FakeChannel(), list[Message]()

    async def __aenter__(self) -> "Following":
        pricer = self.pricer
        feed = MarketChannelFeed(
            self.channel,
            pricer.quotes,
            pricer.markets,
            pricer.shared,
            now=pricer.clock,
            share_every=timedelta(milliseconds=500),
        )
        self.task = asyncio.create_task(feed(self._publish))
        await pricer.quotes.fetch_book(TOKEN)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _publish(self, message: Message) -> None:
        self.parked.append(message)

    async def tell(self, *frames: dict[str, Any] | str | None) -> None:
        for frame in frames:
            self.channel.given.put_nowait(json.dumps(frame) if isinstance(frame, dict) else frame)
        self.channel.given.put_nowait("")  # once it is taken, those before it are done with
        await eventually(self.channel.given.empty)


def a_frame(bid: str) -> dict[str, Any]:
    return {
        "event_type": "book",
        "asset_id": TOKEN,
        "bids": [{"price": bid, "size": "9"}],
        "asks": [{"price": "0.9", "size": "9"}],
    }


async def test_the_channel_follows_what_is_asked_for() -> None:
    async with Following() as following:
        await following.pricer.quotes.fetch_book("12")

        await eventually(
            lambda: {"operation": "subscribe", "assets_ids": ["12"]} in following.channel.sent
        )


async def test_a_book_that_changes_is_told_to_the_others_but_not_each_time() -> None:
    async with Following() as following:
        await following.tell(a_frame("0.41"), a_frame("0.42"))
        first = following.pricer.shared.entries[TOKEN]
        following.pricer.clock.now += timedelta(milliseconds=500)
        await following.tell(a_frame("0.43"))

        assert b'"0.41"' in first
        assert b'"0.43"' in following.pricer.shared.entries[TOKEN]


async def test_a_frame_that_cannot_be_read_is_parked_and_no_book_is_trusted_after_it() -> None:
    """It may have been a change: the books are without it until their next snapshots."""
    change = {
        "event_type": "price_change",
        "price_changes": [{"asset_id": TOKEN, "price": "7", "size": "1", "side": "BUY"}],
    }
    async with Following() as following:
        await following.tell(a_frame("0.41"), change)
        following.pricer.clock.now += seconds(1)

        (parked,) = following.parked
        assert isinstance(parked, FrameParked)
        assert "price" in parked.reason
        assert (await following.pricer.book()).source is not QuoteSource.SOCKET


async def test_a_new_socket_voids_the_books() -> None:
    async with Following() as following:
        await following.tell(a_frame("0.41"), None)

        assert (await following.pricer.book()).source is not QuoteSource.SOCKET
