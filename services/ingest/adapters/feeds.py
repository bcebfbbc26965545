"""Two of the three feeds of leaders' fills: the activity socket and the Data API."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any

from services.ingest.adapters.fills import add_price_ranges, publish_fill
from shared.caching.lru_cache import LruCache
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.dead_letters import park_frame
from shared.messages.leader_fills import LeaderFillSeen
from shared.observe import metrics
from shared.polymarket import data_api, rtds
from shared.polymarket.sockets import Channel
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

ROWS_REMEMBERED = 10_000
"""The socket may bring a row again, and the Data API brings each row in every poll. A row that was
published is not published again: the result would be the same, for twice the work. A row of the
socket under its other type is another row: each type is summed on its own."""


class ActivityFeed:
    """Publishes the leaders' fills of the activity socket, which brings the fills of all wallets.
    It is the fastest source, and a provisional one: it reports matches before they are settled.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._channel, self._leaders, self._now = channel, leaders, now
        self._published: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)
        self._logged: set[metrics.FrameKind] = set()
        """What was logged as an error since the socket was opened."""

    async def __call__(self, publish: Publish) -> None:
        async for frame in self._channel.frames():
            if frame is None:
                self._logged.clear()
            else:
                await self._on_frame(frame, publish)

    async def _on_frame(self, frame: str, publish: Publish) -> None:
        try:
            envelopes = rtds.parse_envelopes(frame)
        except InvalidMessage as error:
            await self._park(frame, str(error), publish)
            return
        for envelope in envelopes:
            await self._on_envelope(envelope, frame, publish)

    async def _on_envelope(self, envelope: Any, frame: str, publish: Publish) -> None:
        """An envelope that cannot be parsed does not stop the others of its frame."""
        try:
            rows = tuple(rtds.parse_rows(envelope))
            if not rows:
                metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.IGNORED)
            for row in rows:
                await self._on_row(row, publish)
        except InvalidMessage as error:
            await self._park(frame, str(error), publish)
        except rtds.SubscriptionRefused as error:
            self._log_once(metrics.FrameKind.REFUSED, "refused the subscription", error)
        except rtds.UnknownEnvelope as error:
            self._log_once(metrics.FrameKind.UNKNOWN, "sends what we do not know", error)

    def _log_once(self, kind: metrics.FrameKind, problem: str, error: Exception) -> None:
        """Count the frame, and log the first of its kind on each socket."""
        metrics.feed_frame(metrics.Feed.RTDS, kind)
        if kind not in self._logged:
            logger.error("rtds: the activity socket %s: %s", problem, error)
            self._logged.add(kind)

    async def _on_row(self, row: rtds.Row, publish: Publish) -> None:
        """A row that can be read is the socket's sign of life: of a wallet that is no leader only
        the wallet is read.
        """
        if rtds.parse_wallet(row) not in self._leaders():
            self._channel.mark_alive()
            metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.NOT_FOLLOWED)
            return
        fill = rtds.parse_fill(row, seen_at=self._now())
        self._channel.mark_alive()
        if self._published.get(fill.message_id):
            metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.REPEATED)
            return
        metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.LEADER_FILL)
        await publish_fill(fill, publish)
        self._published.put(fill.message_id, True)  # noqa: FBT003 - used as a set

    async def _park(self, frame: str, reason: str, publish: Publish) -> None:
        metrics.feed_frame(metrics.Feed.RTDS, metrics.FrameKind.MALFORMED)
        await publish(park_frame(frame, feed="rtds", reason=reason, at=self._now()))


class DataFeed:
    """Publishes each leader's trades from the Data API, one leader after the other. It is slow, but
    has what both other feeds have missed.
    """

    def __init__(
        self,
        fetch_trades: Callable[[str, datetime], Awaitable[Sequence[data_api.Row]]],
        *,
        leaders: Callable[[], AbstractSet[str]],
        now: Callable[[], datetime],
        poll_interval: timedelta,
        lookback: timedelta,
    ) -> None:
        self._fetch_trades, self._leaders, self._now = fetch_trades, leaders, now
        self._poll_interval, self._lookback = poll_interval, lookback
        self._published: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)

    async def __call__(self, publish: Publish) -> None:
        while True:
            await self.poll_leaders(publish)
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def poll_leaders(self, publish: Publish) -> None:
        """One round. A leader whose request fails is skipped until the next one."""
        for leader in sorted(self._leaders()):
            try:
                rows = await self._fetch_trades(leader, self._now() - self._lookback)
            except (Transient, InvalidMessage) as error:
                metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.FAILED)
                logger.warning(
                    "data: the trades of leader %s could not be fetched, "
                    "and are fetched again in %s: %s",
                    leader,
                    self._poll_interval,
                    error,
                )
                continue
            parsed = [await self._parse(row, publish) for row in reversed(rows)]
            for fill in add_price_ranges([fill for fill in parsed if fill is not None]):
                await self._on_fill(fill, publish)

    async def _parse(self, row: data_api.Row, publish: Publish) -> LeaderFillSeen | None:
        """None where it cannot be parsed, and is parked."""
        try:
            return data_api.parse_fill(row, seen_at=self._now())
        except InvalidMessage as error:
            await self._park(row, str(error), publish)
            return None

    async def _on_fill(self, fill: LeaderFillSeen, publish: Publish) -> None:
        if fill.leader not in self._leaders():
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.NOT_FOLLOWED)
            return
        if self._published.get(fill.message_id):
            metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.REPEATED)
            return
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.LEADER_FILL)
        await publish_fill(fill, publish)
        self._published.put(fill.message_id, True)  # noqa: FBT003 - used as a set

    async def _park(self, row: data_api.Row, reason: str, publish: Publish) -> None:
        """Publish it once: the row comes again with every round."""
        metrics.feed_frame(metrics.Feed.DATA, metrics.FrameKind.MALFORMED)
        frame = json.dumps(row, default=str)
        parked = park_frame(frame, feed="data", reason=reason, at=self._now())
        if self._published.get(parked.message_id):
            return
        await publish(parked)
        self._published.put(parked.message_id, True)  # noqa: FBT003 - used as a set
