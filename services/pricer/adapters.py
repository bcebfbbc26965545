"""Pricer's ports: books and markets of the venue, and the feed that keeps the books current.

A book comes from the market channel where it can, then from another instance's cache entry, then
from shared.messages.dead_letters import MAX_FRAME_LENGTH
from the venue's REST interface.
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
from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight
from shared.domain.books import Level
from shared.domain.errors import InvalidMessage, Transient
from shared.domain.ids import derived_id
from shared.messages.base import Message
from shared.messages.caches import BookSeen
from shared.messages.dead_letters import MAX_FRAME_LENGTH, FrameParked
from shared.messages.intents import Missing, PriceLevel, QuoteSource
from shared.observe import metrics
from shared.polymarket.clob import Clob, NoMarket
from shared.polymarket.market_data import BookEvent, LiveBook, Market, TickChanged, parse_events
from shared.polymarket.sockets import Channel
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

MAX_SHARED_LEVELS = 20
"""Levels of each side that are shared with other instances: more than any copy walks."""

SubscriptionChange = tuple[Literal["subscribe", "unsubscribe"], str]


class SharedCache(Protocol):
    """The cache table that all instances of pricer write and read, by token."""

    def get(self, key: str) -> bytes | None: ...

    async def put(self, message: Message) -> None: ...


@dataclass(slots=True)
class TrackedBook:
    """A book that is kept from the market channel, with the time of its last event."""

    book: LiveBook = field(default_factory=LiveBook)
    changed_at: datetime | None = None
    """None while there is no snapshot."""
    shared_at: datetime | None = None
    """When it was last shared with the other instances."""


class QuoteCache:
    """Books of the tokens that were requested. Each carries its time; one that is older than
    ``max_age`` is not used.
    """

    def __init__(
        self,
        clob: Clob,
        shared: SharedCache,
        *,
        now: Callable[[], datetime],
        max_age: timedelta,
        max_tokens: int,
    ) -> None:
        self._clob, self._shared, self._now, self._max_age = clob, shared, now, max_age
        self.subscription_changes: asyncio.Queue[SubscriptionChange] = asyncio.Queue()
        """Tokens that became tracked, and those that were evicted: what the market channel still
        has to subscribe to, or to unsubscribe from."""
        self._tracked: LruCache[str, TrackedBook] = LruCache(
            max_tokens,
            on_evicted=lambda token, _: self.subscription_changes.put_nowait(
                ("unsubscribe", token)
            ),
        )
        self._fetched: LruCache[str, Book] = LruCache(max_tokens)
        self._fetch = SingleFlight(self._fetch_from_venue)

    async def fetch_book(self, token_id: str) -> Book | Missing:
        self._track(token_id)
        for candidate in (self._socket_book, self._fetched_book, self._shared_book):
            book = candidate(token_id)
            # A time in the future comes from a wrong clock and does not make a book fresh.
            if book is not None and abs(self._now() - book.fetched_at) <= self._max_age:
                metrics.cache_requested(metrics.Cache.QUOTES, metrics.CacheResult.HIT)
                return book
        is_shared = self._fetch.is_running(token_id)
        result = metrics.CacheResult.SHARED if is_shared else metrics.CacheResult.MISS
        metrics.cache_requested(metrics.Cache.QUOTES, result)
        return await self._fetch(token_id)

    def _track(self, token_id: str) -> None:
        if self._tracked.get(token_id) is None:
            self._tracked.put(token_id, TrackedBook())
            self.subscription_changes.put_nowait(("subscribe", token_id))

    def tracked_tokens(self) -> list[str]:
        return list(self._tracked)

    def apply(self, event: BookEvent) -> TrackedBook | None:
        """Apply an event of the market channel. Return the token's tracked book; None where the
        token is not tracked.
        """
        tracked = self._tracked.peek(event.token_id)
        if tracked is None:
            return None
        tracked.book.apply(event)
        tracked.changed_at = self._now() if tracked.book.is_known else None
        return tracked

    def invalidate_books(self) -> None:
        """Empty every tracked book: after a reconnection each is unknown until its snapshot."""
        for tracked in self._tracked.values():
            tracked.book, tracked.changed_at = LiveBook(), None

    def _socket_book(self, token_id: str) -> Book | None:
        tracked = self._tracked.peek(token_id)
        if tracked is None or tracked.changed_at is None:
            return None
        return Book(
            bids=tracked.book.bids(),
            asks=tracked.book.asks(),
            fetched_at=tracked.changed_at,
            source=QuoteSource.SOCKET,
        )

    def _fetched_book(self, token_id: str) -> Book | None:
        return self._fetched.get(token_id)

    def _shared_book(self, token_id: str) -> Book | None:
        entry = self._shared.get(token_id)
        if entry is None:
            return None
        try:
            seen = BookSeen.model_validate_json(entry, extra="ignore")
        except ValidationError:
            metrics.cache_requested(metrics.Cache.QUOTES, metrics.CacheResult.UNREADABLE)
            return None
        return Book(
            bids=_parse_levels(seen.bids),
            asks=_parse_levels(seen.asks),
            fetched_at=seen.fetched_at,
            source=QuoteSource.SHARED,
        )

    async def _fetch_from_venue(self, token_id: str) -> Book | Missing:
        requested_at = self._now()
        try:
            snapshot = await self._clob.fetch_book(token_id)
        except NoMarket:
            return Missing.NO_MARKET
        except (Transient, InvalidMessage) as error:
            logger.warning("could not fetch the book of token %s: %s", token_id, error)
            return Missing.UNAVAILABLE
        book = Book(
            bids=snapshot.bids, asks=snapshot.asks, fetched_at=requested_at, source=QuoteSource.REST
        )
        self._fetched.put(token_id, book)
        return book


class MarketCache:
    """The trading rules of each token's market: fetched once, then cached for ``valid_for``."""

    def __init__(
        self, clob: Clob, *, now: Callable[[], datetime], valid_for: timedelta, max_tokens: int
    ) -> None:
        self._clob, self._now, self._valid_for = clob, now, valid_for
        self._cached: LruCache[str, tuple[Market, datetime]] = LruCache(max_tokens)
        self._invalidations = 0
        self._fetch = SingleFlight(self._fetch_from_venue)

    async def fetch_market(self, token_id: str) -> Market | Missing:
        cached = self._cached.get(token_id)
        if cached is not None and self._now() - cached[1] <= self._valid_for:
            return cached[0]
        return await self._fetch(token_id)

    def invalidate(self, token_id: str) -> None:
        """Drop the entry because the market changed. A reply that is under way may show the old
        rules, so it is not cached either.
        """
        self._invalidations += 1
        self._cached.drop(token_id)

    async def _fetch_from_venue(self, token_id: str) -> Market | Missing:
        invalidations = self._invalidations
        try:
            market = await self._clob.fetch_market(token_id)
        except NoMarket:
            return Missing.NO_MARKET
        except (Transient, InvalidMessage) as error:
            logger.warning("could not fetch the market of token %s: %s", token_id, error)
            return Missing.UNAVAILABLE
        if invalidations == self._invalidations:
            self._cached.put(token_id, (market, self._now()))
        return market


class MarketChannelFeed:
    """Keeps the tracked books current from the market channel, and shares them with the other
    instances.
    """

    def __init__(
        self,
        channel: Channel,
        quotes: QuoteCache,
        markets: MarketCache,
        shared: SharedCache,
        *,
        now: Callable[[], datetime],
        share_interval: timedelta,
    ) -> None:
        self._channel, self._quotes, self._markets, self._shared = channel, quotes, markets, shared
        self._now, self._share_interval = now, share_interval

    async def __call__(self, publish: Publish) -> None:
        # The channel is opened once a first token is tracked; the first frame subscribes to it.
        await self._quotes.subscription_changes.get()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_subscription_changes())
            async for frame in self._channel.frames():
                if frame is None:
                    self._quotes.invalidate_books()
                else:
                    await self._on_frame(frame, publish)

    async def _send_subscription_changes(self) -> None:
        while True:
            operation, token_id = await self._quotes.subscription_changes.get()
            await self._channel.send(json.dumps({"operation": operation, "assets_ids": [token_id]}))

    async def _on_frame(self, frame: str, publish: Publish) -> None:
        try:
            for event in parse_events(frame):
                await self._on_event(event)
        except InvalidMessage as error:
            self._quotes.invalidate_books()  # the unreadable frame may have changed any of them
            metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.MALFORMED)
            excerpt = frame[:MAX_FRAME_LENGTH]
            await publish(
                FrameParked(
                    message_id=derived_id("frame", excerpt),
                    occurred_at=self._now(),
                    feed="market",
                    reason=str(error),
                    frame=excerpt,
                )
            )

    async def _on_event(self, event: BookEvent) -> None:
        metrics.feed_frame(metrics.Feed.MARKET, metrics.FrameKind.BOOK)
        if isinstance(event, TickChanged):
            self._markets.invalidate(event.token_id)
        tracked = self._quotes.apply(event)
        if tracked is not None and tracked.changed_at is not None and self._is_share_due(tracked):
            tracked.shared_at = self._now()
            await self._shared.put(
                _build_book_seen(event.token_id, tracked.book, tracked.changed_at)
            )

    def _is_share_due(self, tracked: TrackedBook) -> bool:
        if tracked.shared_at is None:
            return True
        return self._now() - tracked.shared_at >= self._share_interval


def build_subscription(tokens: list[str]) -> list[str]:
    """The frames that a new socket of the market channel starts with: one, with all tokens."""
    return [json.dumps({"type": "market", "assets_ids": tokens, "custom_feature_enabled": False})]


def _build_book_seen(token_id: str, book: LiveBook, fetched_at: datetime) -> BookSeen:
    return BookSeen(
        message_id=f"{token_id}:{fetched_at.timestamp()}",
        occurred_at=fetched_at,
        token_id=token_id,
        bids=_build_levels(book.bids()),
        asks=_build_levels(book.asks()),
        fetched_at=fetched_at,
    )


def _build_levels(levels: tuple[Level, ...]) -> tuple[PriceLevel, ...]:
    return tuple(
        PriceLevel(price=level.price, shares=level.shares) for level in levels[:MAX_SHARED_LEVELS]
    )


def _parse_levels(levels: tuple[PriceLevel, ...]) -> tuple[Level, ...]:
    return tuple(Level(level.price, level.shares) for level in levels)
