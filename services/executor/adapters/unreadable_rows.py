"""Parks the rows of the venue's trades that could not be read, each once."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime

from services.executor.adapters.venue import UnreadableRow
from shared.caching.lru_cache import LruCache
from shared.domain.ids import derived_id
from shared.messages.dead_letters import MAX_FRAME_LENGTH, FrameParked
from shared.observe import metrics
from shared.streams.routes import Publish

ROWS_REMEMBERED = 1_000


class ParkedRows:
    """Remembers what it has parked: a row comes again with every poll."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._parked: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)

    async def park(self, rows: Iterable[UnreadableRow], publish: Publish) -> None:
        """Publish each row as a dead letter with its reason, without the API key that it names."""
        for unreadable in rows:
            shown = {name: value for name, value in unreadable.row.items() if name != "owner"}
            stored = json.dumps(shown, default=str)[:MAX_FRAME_LENGTH]
            message_id = derived_id("frame", stored)
            if self._parked.get(message_id):
                continue
            metrics.feed_frame(metrics.Feed.TRADES, metrics.FrameKind.MALFORMED)
            await publish(
                FrameParked(
                    message_id=message_id,
                    occurred_at=self._now(),
                    feed="trades",
                    reason=unreadable.reason,
                    frame=stored,
                )
            )
            self._parked.put(message_id, True)  # noqa: FBT003 - used as a set
