"""Parks the rows of the venue's trades that could not be read, each once."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from services.executor.adapters.venue import UnreadableRow
from shared.caching.lru_cache import LruCache
from shared.messages.dead_letters import park_frame
from shared.observe import metrics
from shared.streams.routes import Publish

ROWS_REMEMBERED = 1_000


class ParkedRows:
    """Remembers what it has parked: a row comes again with every poll."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._parked: LruCache[str, bool] = LruCache(ROWS_REMEMBERED)

    async def park(self, rows: Iterable[UnreadableRow], publish: Publish) -> None:
        """Publish each row as a dead letter with its reason, without the API keys that it names."""
        for unreadable in rows:
            frame = json.dumps(_without_owners(unreadable.row), default=str)
            parked = park_frame(frame, feed="trades", reason=unreadable.reason, at=self._now())
            if self._parked.get(parked.message_id):
                continue
            metrics.feed_frame(metrics.Feed.TRADES, metrics.FrameKind.MALFORMED)
            await publish(parked)
            self._parked.put(parked.message_id, True)  # noqa: FBT003 - used as a set


def _without_owners(value: Any) -> Any:
    """The row without ``owner``, an API key: of the taker, and of each of its makers."""
    if isinstance(value, Mapping):
        return {name: _without_owners(each) for name, each in value.items() if name != "owner"}
    if isinstance(value, list):
        return [_without_owners(each) for each in value]
    return value
