"""The cache of books: from the market channel, from other instances, and fetched."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, Protocol

from pydantic import ValidationError

from services.pricer.decisions import Book, TickSeen, is_within
from shared.caching.lru_cache import LruCache
from shared.caching.single_flight import SingleFlight
from shared.domain.books import BookFault, Level, find_fault
from shared.messages.base import Message
from shared.messages.caches import BookSeen
from shared.messages.intents import Missing, PriceLevel, QuoteSource
from shared.observe import metrics
from shared.polymarket.attempts import fetch_twice
from shared.polymarket.clob import Clob
from shared.polymarket.market_data import (
    BestPrices,
    BookEvent,
    BookSnapshot,
    EventUnreadable,
    LiveBook,
    TickChanged,
)

MAX_SHARED_LEVELS = 20
"""Levels of each side that are shared with other instances: more than any copy walks."""
SNAPSHOT_INTERVAL = timedelta(seconds=1)
"""A token's snapshot is requested at most this often: frames that stay unreadable must not become a
flood of subscriptions."""

SubscriptionChange = tuple[Literal["subscribe", "unsubscribe"], tuple[str, ...]]


class SharedCache(Protocol):
    """The cache table that all instances of pricer write and read, by token."""

    def get(self, key: str) -> bytes | None: ...

    async def put(self, message: Message) -> None: ...


@dataclass(slots=True)
class TrackedBook:
    """A book that is kept from the market channel, with the time of its last event."""

    requested_at: datetime
    """When its snapshot was last requested."""
    book: LiveBook = field(default_factory=LiveBook)
    changed_at: datetime | None = None
    """None while there is no snapshot."""
    snapshot_at: datetime | None = None
    """When the last snapshot came, whose tick the book has."""
    shared_at: datetime | None = None
    """When it was last shared with the other instances."""
    _read: Book | None = None
    """Kept until the next event: one leader's trade reads it once per follower."""

    def apply(self, event: BookEvent, *, now: datetime) -> None:
        self.book.apply(event)
        self.changed_at = now if self.book.is_known else None
        if isinstance(event, BookSnapshot):
            self.snapshot_at = self.changed_at
        self._read = None

    def read(self) -> Book | None:
        """The book as it is now; None while it is unknown."""
        if self.changed_at is None:
            return None
        if self._read is None:
            self._read = Book(
                bids=self.book.bids(),
                asks=self.book.asks(),
                fetched_at=self.changed_at,
                source=QuoteSource.SOCKET,
                tick=build_tick(self.book.tick_size, self.snapshot_at),
            )
        return self._read


class QuoteCache:
    """Books of the tokens that were requested, at most ``max_tokens``. Each carries its time; one
    that is older than ``max_age`` is not current, but may be the last good one.
    """

    def __init__(
        self,
        clob: Clob,
        shared: SharedCache,
        *,
        now: Callable[[], datetime],
        max_age: timedelta,
        fetch_timeout: timedelta,
        max_tokens: int,
    ) -> None:
        self._clob, self._shared, self._now, self._max_age = clob, shared, now, max_age
        self._fetch_timeout_s = fetch_timeout.total_seconds()
        self.subscription_changes: asyncio.Queue[SubscriptionChange] = asyncio.Queue()
        """Tokens that became tracked, those that were evicted, and those whose book is unknown:
        what the market channel still has to subscribe to, or to unsubscribe from."""
        self._tracked: LruCache[str, TrackedBook] = LruCache(
            max_tokens, on_evicted=lambda token, _: self._on_evicted(token)
        )
        self._fetched: LruCache[str, Book] = LruCache(max_tokens)
        self._last_good: LruCache[str, Book] = LruCache(max_tokens)
        self._fetch = SingleFlight(self._fetch_from_venue)

    def cached_book(self, token_id: str) -> Book | None:
        self._track(token_id)
        for candidate in (self._socket_book, self._fetched_book, self._shared_book):
            book = candidate(token_id)
            if book is not None and self._is_current(book) and self._is_good(token_id, book):
                return book
        return None

    async def fetch_book(self, token_id: str) -> Book | Missing:
        cached = self.cached_book(token_id)
        if cached is not None:
            metrics.cache_requested(metrics.Cache.QUOTES, metrics.CacheResult.HIT)
            return cached
        is_shared = self._fetch.is_running(token_id)
        result = metrics.CacheResult.SHARED if is_shared else metrics.CacheResult.MISS
        metrics.cache_requested(metrics.Cache.QUOTES, result)
        return await self._fetch(token_id)

    def last_book(self, token_id: str) -> Book | None:
        books = (
            self._socket_book(token_id),
            self._last_good.get(token_id),
            self._shared_book(token_id),
        )
        good = [book for book in books if book and find_fault(book.bids, book.asks) is None]
        return max(good, key=lambda book: book.fetched_at, default=None)

    def tracked_tokens(self) -> list[str]:
        return list(self._tracked)

    def peek(self, token_id: str) -> TrackedBook | None:
        """Return the tracked book of the token; None where it is not tracked."""
        return self._tracked.peek(token_id)

    def apply(self, event: BookEvent) -> None:
        """Apply an event of the market channel, unless its token is not tracked."""
        tracked = self._tracked.peek(event.token_id)
        if tracked is None:
            return
        if isinstance(event, TickChanged | EventUnreadable):
            self._keep_if_good(event.token_id, tracked)
        tracked.apply(event, now=self._now())

    def drop_if_diverged(self, token_id: str, best: BestPrices) -> bool:
        """Forget a tracked book whose best levels are not these, request its snapshot, and return
        whether that was so. Such a book has missed a change: it is no last good one either.
        """
        tracked = self._tracked.peek(token_id)
        if tracked is None or tracked.book.has_best(best):
            return False
        metrics.book_unusable(BookFault.DIVERGED)
        tracked.book.forget()
        tracked.changed_at = None
        self.request_snapshots([token_id])
        return True

    def invalidate_books(self) -> None:
        """Forget every tracked book: after a reconnection each is unknown until its snapshot."""
        for token_id in self._tracked:
            tracked = self._tracked.peek(token_id)
            if tracked is not None:
                self._keep_if_good(token_id, tracked)
                tracked.book, tracked.changed_at = LiveBook(), None

    def request_snapshots(self, token_ids: Sequence[str]) -> None:
        """Have the market channel send the books again: it does so on a new subscription. Those
        that were requested a moment ago are left out.
        """
        due = [
            (token_id, tracked)
            for token_id in token_ids
            if (tracked := self._tracked.peek(token_id)) is not None
            and self._now() - tracked.requested_at >= SNAPSHOT_INTERVAL
        ]
        for _, tracked in due:
            tracked.requested_at = self._now()
        if due:
            due_ids = tuple(token_id for token_id, _ in due)
            self.subscription_changes.put_nowait(("unsubscribe", due_ids))
            self.subscription_changes.put_nowait(("subscribe", due_ids))

    def _track(self, token_id: str) -> None:
        """Have the token's book kept; where its snapshot is still missing, request it again."""
        tracked = self._tracked.get(token_id)
        if tracked is None:
            self._tracked.put(token_id, TrackedBook(requested_at=self._now()))
            self.subscription_changes.put_nowait(("subscribe", (token_id,)))
        elif tracked.changed_at is None:
            self.request_snapshots([token_id])

    def _on_evicted(self, token_id: str) -> None:
        metrics.cache_evicted(metrics.Cache.QUOTES, metrics.Eviction.SIZE)
        self.subscription_changes.put_nowait(("unsubscribe", (token_id,)))
        self._fetched.drop(token_id)
        self._last_good.drop(token_id)

    def _is_current(self, book: Book) -> bool:
        return is_within(self._max_age, book.fetched_at, self._now())

    def _is_good(self, token_id: str, book: Book) -> bool:
        """Whether the book has prices; it is the last good one then."""
        if self._last_good.get(token_id) is book:
            return True
        if not _is_usable(book):
            return False
        self._last_good.put(token_id, book)
        return True

    def _keep_if_good(self, token_id: str, tracked: TrackedBook) -> None:
        """Keep the book as the last good one, because it is about to be forgotten."""
        book = tracked.read()
        if book is not None and find_fault(book.bids, book.asks) is None:
            self._last_good.put(token_id, book)

    def _socket_book(self, token_id: str) -> Book | None:
        tracked = self._tracked.peek(token_id)
        return None if tracked is None else tracked.read()

    def _fetched_book(self, token_id: str) -> Book | None:
        book = self._fetched.get(token_id)
        if book is not None and not self._is_current(book):
            metrics.cache_evicted(metrics.Cache.QUOTES, metrics.Eviction.AGE)
            self._fetched.drop(token_id)
            return None
        return book

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
            tick=build_tick(seen.tick_size, seen.tick_seen_at),
        )

    async def _fetch_from_venue(self, token_id: str) -> Book | Missing:
        requested_at = self._now()
        snapshot = await fetch_twice(
            lambda: self._clob.fetch_book(token_id),
            what=f"the book of token {token_id}",
            timeout_s=self._fetch_timeout_s,
        )
        if isinstance(snapshot, Missing):
            return snapshot
        book = Book(
            bids=snapshot.bids,
            asks=snapshot.asks,
            fetched_at=requested_at,
            source=QuoteSource.REST,
            tick=build_tick(snapshot.tick_size, requested_at),
        )
        if not _is_usable(book):
            return Missing.UNAVAILABLE
        self._fetched.put(token_id, book)
        self._last_good.put(token_id, book)
        return book


def build_book_seen(token_id: str, book: Book) -> BookSeen:
    return BookSeen(
        message_id=f"{token_id}:{book.fetched_at.timestamp()}",
        occurred_at=book.fetched_at,
        token_id=token_id,
        bids=_build_levels(book.bids),
        asks=_build_levels(book.asks),
        tick_size=None if book.tick is None else book.tick.size,
        tick_seen_at=None if book.tick is None else book.tick.seen_at,
        fetched_at=book.fetched_at,
    )


def build_tick(size: Decimal | None, seen_at: datetime | None) -> TickSeen | None:
    return None if size is None or seen_at is None else TickSeen(size=size, seen_at=seen_at)


def _is_usable(book: Book) -> bool:
    """Whether the book has prices; where not, that is counted."""
    fault = find_fault(book.bids, book.asks)
    if fault is not None:
        metrics.book_unusable(fault)
    return fault is None


def _build_levels(levels: tuple[Level, ...]) -> tuple[PriceLevel, ...]:
    return tuple(
        PriceLevel(price=level.price, shares=level.shares) for level in levels[:MAX_SHARED_LEVELS]
    )


def _parse_levels(levels: tuple[PriceLevel, ...]) -> tuple[Level, ...]:
    return tuple(Level(level.price, level.shares) for level in levels)
