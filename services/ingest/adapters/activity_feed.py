"""The feed of leaders' fills from the activity socket."""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from services.ingest.adapters.fills import ROWS_REMEMBERED, publish_fill
from shared.caching.lru_cache import LruCache
from shared.domain.errors import InvalidMessage
from shared.messages.dead_letters import park_frame
from shared.observe import metrics
from shared.polymarket import rtds
from shared.polymarket.sockets import Channel
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


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
