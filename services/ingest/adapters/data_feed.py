"""The feed of leaders' fills from the Data API."""

import asyncio
import heapq
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.ingest.adapters.fills import ROWS_REMEMBERED, add_price_ranges, publish_fill
from services.ingest.adapters.leader_reading import LeaderReading
from services.ingest.adapters.shared_leaders import SharedLeaders
from shared.caching.lru_cache import LruCache
from shared.db.leased_wallets import LeaseId
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.dead_letters import park_frame
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe import metrics
from shared.polymarket import data_api
from shared.streams.backoff import Backoff
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

MAX_CONCURRENT = 16
"""Leaders that are asked for at once. An answer takes 0.3 s, so these are enough for the venue's
limit, and a few slow ones hold up nobody."""
CHECK_INTERVAL_S = 0.1
RETRY_AFTER_S = 1.0

FetchTrades = Callable[[str, datetime, datetime], Awaitable[data_api.Trades]]
"""The trades of a wallet between two times. Raises: Transient, InvalidMessage."""


class LeaderCursors(Protocol):
    """The stored positions."""

    async def load(self, leaders: Sequence[str]) -> Mapping[str, datetime]:
        """The leaders' cursors, without those of leaders who were never read. Raises: Transient."""
        ...

    async def save(self, cursors: Mapping[str, datetime]) -> None:
        """Move leaders' cursors forward, never back. Raises: Transient."""
        ...

    async def remove(self, leaders: Sequence[str]) -> None:
        """Forget leaders who are not followed any more. Raises: Transient."""
        ...

    async def remove_others(self, followed: Sequence[str]) -> None:
        """Forget all leaders but these, also those of other instances. Raises: Transient."""
        ...


@dataclass(slots=True, kw_only=True)
class _Leader:
    """A leader who is read by this instance. Times are those of the monotonic clock."""

    lease: LeaseId
    reading: LeaderReading
    stored: datetime
    """The cursor as it is stored."""
    read_at: float = float("-inf")
    """When he was last asked for with success."""
    due_at: float = float("-inf")
    failures: int = 0


class DataFeed:
    """Publishes the trades of this instance's leaders from the Data API. It is slow, but has what
    the other feeds have missed.

    Each leader is read from his cursor on, whoever was longest unread first, several at once. One
    whose requests fail is asked for again after a delay that grows; he holds up no other.
    """

    def __init__(
        self,
        fetch_trades: FetchTrades,
        cursors: LeaderCursors,
        *,
        leaders: SharedLeaders,
        now: Callable[[], datetime],
        poll_interval: timedelta,
        lookback: timedelta,
        max_lookback: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch_trades, self._cursors, self._shared = fetch_trades, cursors, leaders
        self._now, self._clock = now, clock
        self._poll_interval_s = poll_interval.total_seconds()
        self._lookback, self._max_lookback = lookback, max_lookback
        self._backoff = Backoff(first_s=max(1.0, self._poll_interval_s), max_s=60)
        self._leaders: dict[str, _Leader] = {}
        self._stored: set[str] = set()
        """Leaders of this instance who may have a stored cursor."""
        self._has_removed_others = False
        """Whether those were forgotten who ceased to be followed while ingest did not run."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self._parked: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)

    async def __call__(self, publish: Publish) -> None:
        try:
            while True:
                try:
                    await self._update_leaders()
                except Transient as error:
                    logger.warning("data: the leaders' cursors could not be read: %s", error)
                    await asyncio.sleep(RETRY_AFTER_S)
                for leader in self._due_leaders():
                    self._running[leader] = asyncio.create_task(self.read(leader, publish))
                await asyncio.sleep(CHECK_INTERVAL_S)
                self._end_finished()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def read_all(self, publish: Publish) -> None:
        """Read every leader of this instance once."""
        await self._update_leaders()
        for leader in list(self._leaders):
            await self.read(leader, publish)

    async def read(self, name: str, publish: Publish) -> None:
        """Ask for a leader's trades once, and publish what is new."""
        leader = self._leaders[name]
        try:
            await self._read(name, leader, publish)
        except (Transient, InvalidMessage) as error:
            leader.failures += 1
            leader.reading.note_failure()
            delay = self._backoff.delay(leader.failures)
            leader.due_at = self._clock() + delay
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.FAILED)
            logger.warning(
                "data: the trades of leader %s could not be fetched, and are fetched again in "
                "%.1f s: %s",
                name,
                delay,
                error,
            )
            return
        leader.failures, leader.read_at = 0, self._clock()
        has_more = leader.reading.has_more()
        leader.due_at = leader.read_at + (0 if has_more else self._poll_interval_s)

    async def _read(self, name: str, leader: _Leader, publish: Publish) -> None:
        """Raises: Transient, InvalidMessage."""
        window = leader.reading.next_window(self._now())
        trades = await self._fetch_trades(name, window.since, window.until)
        fills = [
            fill for row in reversed(trades.rows) for fill in await self._parse(row, name, publish)
        ]
        if not trades.is_complete and not fills:
            raise InvalidMessage("none of its rows can be read")
        answer = leader.reading.take(window, fills, is_complete=trades.is_complete)
        for fill in add_price_ranges(answer.fills):
            await self._publish_once(fill, leader.reading, publish)
        leader.reading.advance(answer)
        await self._store(name, leader)

    async def _publish_once(
        self, fill: LeaderFillSeen, reading: LeaderReading, publish: Publish
    ) -> None:
        if reading.is_published(fill):
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.REPEATED)
            return
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.LEADER_FILL)
        await publish_fill(fill, publish)
        reading.note_published(fill)

    async def _store(self, name: str, leader: _Leader) -> None:
        """Store the cursor where it has moved, unless the leader was left meanwhile: then it may be
        removed. Raises: Transient; it is stored next time.
        """
        cursor = leader.reading.cursor
        if cursor != leader.stored and self._leaders.get(name) is leader:
            await self._cursors.save({name: cursor})
            leader.stored = cursor

    async def _parse(
        self, row: data_api.Row, leader: str, publish: Publish
    ) -> list[LeaderFillSeen]:
        """The row as a fill of the leader; none where it cannot be parsed, and is parked, or is of
        another wallet.
        """
        try:
            fill = data_api.parse_fill(row, seen_at=self._now())
        except InvalidMessage as error:
            await self._park(row, str(error), publish)
            return []
        if fill.leader != leader:
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.NOT_FOLLOWED)
            return []
        return [fill]

    async def _park(self, row: data_api.Row, reason: str, publish: Publish) -> None:
        """Publish it once: the row comes again with every reading."""
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.MALFORMED)
        frame = json.dumps(row, default=str)
        parked = park_frame(frame, feed="data", reason=reason, at=self._now())
        if self._parked.get(parked.message_id):
            return
        await publish(parked)
        self._parked.put(parked.message_id, True)  # noqa: FBT003 - used as a set

    async def _update_leaders(self) -> None:
        """Begin with the leaders that are new here, from their stored cursors, and leave those that
        are another instance's now or are not followed any more. Raises: Transient.
        """
        leases, followed = self._shared.lease_by_leader(), self._shared.followed()
        if followed and not self._has_removed_others:
            await self._cursors.remove_others(sorted(followed))
            self._has_removed_others = True
        for name, leader in list(self._leaders.items()):
            held = leases.get(name, leader.lease)
            if name not in followed or held != leader.lease or not self._shared.is_assigned(name):
                del self._leaders[name]
        unfollowed = [name for name in self._stored - self._leaders.keys() if name not in followed]
        if unfollowed:
            await self._cursors.remove(unfollowed)
        new = [name for name in leases if name not in self._leaders]
        if new:
            cursors = await self._load_cursors(new)
            self._leaders |= {name: self._begin(leases[name], cursors[name]) for name in new}
        self._stored = set(self._leaders)

    async def _load_cursors(self, names: Sequence[str]) -> Mapping[str, datetime]:
        """The stored cursors. Leaders without one get it now, before they are asked for: what they
        trade while their requests fail is read later. Raises: Transient.
        """
        stored = await self._cursors.load(names)
        first = dict.fromkeys((name for name in names if name not in stored), self._now())
        if first:
            await self._cursors.save(first)
        return {**first, **stored}

    def _begin(self, lease: LeaseId, cursor: datetime) -> _Leader:
        reading = LeaderReading(cursor, lookback=self._lookback, max_lookback=self._max_lookback)
        return _Leader(lease=lease, reading=reading, stored=cursor)

    def _due_leaders(self) -> list[str]:
        """Those to be asked for now, whoever was longest unread first."""
        now, leases = self._clock(), self._shared.lease_by_leader()
        due = [
            name
            for name, leader in self._leaders.items()
            if leader.due_at <= now and name in leases and name not in self._running
        ]
        free = MAX_CONCURRENT - len(self._running)
        return heapq.nsmallest(free, due, key=lambda name: self._leaders[name].read_at)

    def _end_finished(self) -> None:
        """Raises: what a reading raised unexpectedly."""
        for name, task in list(self._running.items()):
            if task.done():
                del self._running[name]
                task.result()
