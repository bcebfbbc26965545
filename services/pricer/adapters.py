"""Pricer's ports: the market channel first, then what another instance has, then the venue's REST
interface.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import ValidationError

from services.pricer.decisions import Book
from shared.caching.recent import LruCache
from shared.caching.single_flight import SingleFlight
from shared.domain.books import Level
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.ids import derived_id
from shared.messages.base import Message
from shared.messages.caches import BookSeen
from shared.messages.dead_letters import LONGEST_FRAME, FrameParked
from shared.messages.intents import Missing, PriceLevel, QuoteSource
from shared.observe import metrics
from shared.polymarket.clob import Clob, NoMarket
from shared.polymarket.market_data import BookEvent, LiveBook, Market, TickChanged, parse_events
from shared.polymarket.sockets import Channel
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

LEVELS_SHARED = 20
"""Levels of each side that other instances are told: more than any copy walks."""


Change = tuple[Literal["subscribe", "unsubscribe"], str]


class SharedEntries(Protocol):
    """The table that all instances of pricer fill and read."""

    def get(self, key: str) -> bytes | None: ...

    async def put(self, message: Message) -> None: ...


@dataclass(slots=True)
class Kept:
    """A book that the market channel keeps, and when it last said something of it."""

    book: LiveBook = field(default_factory=LiveBook)
    changed_at: datetime | None = None
    shared_at: datetime | None = None


class QuoteCache:
    """Books of the tokens that were asked for. Each answer carries its time; an entry that is too
    old counts as none.
    """

    def __init__(
        self,
        clob: Clob,
        shared: SharedEntries,
        *,
        now: Callable[[], datetime],
        max_age: timedelta,
        max_tokens: int,
    ) -> None:
        self._clob, self._shared, self._now, self._max_age = clob, shared, now, max_age
        self.changes: asyncio.Queue[Change] = asyncio.Queue()
        """Tokens that were asked for the first time, and those that fell out of the cache: what the
        subscription must follow."""
        self._kept: LruCache[str, Kept] = LruCache(
            max_tokens, evicted=lambda token, _: self.changes.put_nowait(("unsubscribe", token))
        )
        self._fetched: LruCache[str, Book] = LruCache(max_tokens)
        self._fetch = SingleFlight(self._ask_venue)

    async def fetch_book(self, token_id: str) -> Book | Missing:
        self._remember(token_id)
        for candidate in (self._from_socket, self._from_last_fetch, self._from_shared):
            book = candidate(token_id)
            if (
                book is not None and abs(self._now() - book.fetched_at) <= self._max_age
            ):  # a clock that runs ahead makes no book young
                metrics.cache_requested(metrics.Cache.QUOTES, metrics.CacheResult.HIT)
                return book
        metrics.cache_requested(
            metrics.Cache.QUOTES,
            metrics.CacheResult.SHARED
            if self._fetch.is_under_way(token_id)
            else metrics.CacheResult.MISS,
        )
        return await self._fetch(token_id)

    def _remember(self, token_id: str) -> None:
        if self._kept.get(token_id) is None:
            self._kept.put(token_id, Kept())
            self.changes.put_nowait(("subscribe", token_id))

    def tokens(self) -> list[str]:
        return list(self._kept)

    def apply(self, event: BookEvent) -> Kept | None:
        """What the channel says. Returns what is kept of the token, if it is one of ours."""
        kept = self._kept.peek(event.token_id)
        if kept is None:
            return None
        kept.book.apply(event)
        kept.changed_at = self._now() if kept.book.is_known else None
        return kept

    def forget_books(self) -> None:
        """After a new socket: every book is void until its snapshot."""
        for kept in self._kept.values():
            kept.book, kept.changed_at = LiveBook(), None

    def _from_socket(self, token_id: str) -> Book | None:
        kept = self._kept.peek(token_id)
        if kept is None or kept.changed_at is None:
            return None
        return Book(
            bids=kept.book.bids(),
            asks=kept.book.asks(),
            fetched_at=kept.changed_at,
            source=QuoteSource.SOCKET,
        )

    def _from_last_fetch(self, token_id: str) -> Book | None:
        return self._fetched.get(token_id)

    def _from_shared(self, token_id: str) -> Book | None:
        entry = self._shared.get(token_id)
        if entry is None:
            return None
        try:
            seen = BookSeen.model_validate_json(entry, extra="ignore")
        except ValidationError:
            metrics.cache_requested(metrics.Cache.QUOTES, metrics.CacheResult.UNREADABLE)
            return None
        return Book(
            bids=_levels(seen.bids),
            asks=_levels(seen.asks),
            fetched_at=seen.fetched_at,
            source=QuoteSource.SHARED,
        )

    async def _ask_venue(self, token_id: str) -> Book | Missing:
        asked_at = self._now()
        try:
            snapshot = await self._clob.fetch_book(token_id)
        except NoMarket:
            return Missing.NO_MARKET
        except (Transient, InvalidMessage) as error:
            logger.warning("no book of a token could be had: %s", error)
            return Missing.UNAVAILABLE
        book = Book(
            bids=snapshot.bids, asks=snapshot.asks, fetched_at=asked_at, source=QuoteSource.REST
        )
        self._fetched.put(token_id, book)
        return book


class MarketCache:
    """What orders of a token must obey: asked for once, kept for its time."""

    def __init__(
        self, clob: Clob, *, now: Callable[[], datetime], valid_for: timedelta, max_tokens: int
    ) -> None:
        self._clob, self._now, self._valid_for = clob, now, valid_for
        self._known: LruCache[str, tuple[Market, datetime]] = LruCache(max_tokens)
        self._forgotten = 0
        self._fetch = SingleFlight(self._ask_venue)

    async def fetch_market(self, token_id: str) -> Market | Missing:
        known = self._known.get(token_id)
        if known is not None and self._now() - known[1] <= self._valid_for:
            return known[0]
        return await self._fetch(token_id)

    def forget(self, token_id: str) -> None:
        """It has changed: also an answer that is under way may be of before."""
        self._forgotten += 1
        self._known.drop(token_id)

    async def _ask_venue(self, token_id: str) -> Market | Missing:
        forgotten = self._forgotten
        try:
            market = await self._clob.fetch_market(token_id)
        except NoMarket:
            return Missing.NO_MARKET
        except (Transient, InvalidMessage) as error:
            logger.warning("no market of a token could be had: %s", error)
            return Missing.UNAVAILABLE
        if forgotten == self._forgotten:
            self._known.put(token_id, (market, self._now()))
        return market


class MarketChannelFeed:
    """Keeps the books of the tokens that were asked for, and tells the other instances of them."""

    def __init__(
        self,
        channel: Channel,
        quotes: QuoteCache,
        markets: MarketCache,
        shared: SharedEntries,
        *,
        now: Callable[[], datetime],
        share_every: timedelta,
    ) -> None:
        self._channel, self._quotes, self._markets, self._shared = channel, quotes, markets, shared
        self._now, self._share_every = now, share_every

    async def __call__(self, publish: Publish) -> None:
        await (
            self._quotes.changes.get()
        )  # nothing is subscribed before a token is asked for; the greeting names it
        async with asyncio.TaskGroup() as together:
            together.create_task(self._follow_what_is_asked())
            async for frame in self._channel.frames():
                if frame is None:
                    self._quotes.forget_books()
                else:
                    await self._take(frame, publish)

    async def _follow_what_is_asked(self) -> None:
        while True:
            operation, token_id = await self._quotes.changes.get()
            await self._channel.send(json.dumps({"operation": operation, "assets_ids": [token_id]}))

    async def _take(self, frame: str, publish: Publish) -> None:
        try:
            for event in parse_events(frame):
                await self._apply(event)
        except InvalidMessage as error:
            self._quotes.forget_books()  # what could not be read may have changed any of them
            metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.MALFORMED)
            kept = frame[:LONGEST_FRAME]
            await publish(
                FrameParked(
                    message_id=derived_id("frame", kept),
                    occurred_at=self._now(),
                    feed="market",
                    reason=str(error),
                    frame=kept,
                )
            )

    async def _apply(self, event: BookEvent) -> None:
        metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.BOOK)
        if isinstance(event, TickChanged):
            self._markets.forget(event.token_id)
        kept = self._quotes.apply(event)
        if kept is not None and kept.changed_at is not None and self._is_due(kept):
            kept.shared_at = self._now()
            await self._shared.put(_seen(event.token_id, kept.book, kept.changed_at))

    def _is_due(self, kept: Kept) -> bool:
        return kept.shared_at is None or self._now() - kept.shared_at >= self._share_every


def greeting(tokens: list[str]) -> list[str]:
    """The first frame of the market channel: all tokens that are kept."""
    return [json.dumps({"type": "market", "assets_ids": tokens, "custom_feature_enabled": False})]


def _seen(token_id: str, book: LiveBook, fetched_at: datetime) -> BookSeen:
    return BookSeen(
        message_id=f"{token_id}:{fetched_at.timestamp()}",
        occurred_at=fetched_at,
        token_id=token_id,
        bids=_shared_levels(book.bids()),
        asks=_shared_levels(book.asks()),
        fetched_at=fetched_at,
    )


def _shared_levels(levels: tuple[Level, ...]) -> tuple[PriceLevel, ...]:
    return tuple(
        PriceLevel(price=level.price, shares=level.shares) for level in levels[:LEVELS_SHARED]
    )


def _levels(levels: tuple[PriceLevel, ...]) -> tuple[Level, ...]:
    return tuple(Level(level.price, level.shares) for level in levels)
