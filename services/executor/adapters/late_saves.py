"""Saves outcomes some time after they are known, many in one statement.

That an order was matched is nothing to wait for: after a crash it is found as signed, which does
not say whether it was posted. The same bytes are posted again, which the venue recognises, or it is
looked up, as any order whose reply was lost. So it is saved within half a second, or by the
statement that records its fills, whichever comes first.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from services.executor.adapters.rows import OrderUpdate
from shared.db.group_commit import MAX_GROUP_SIZE
from shared.domain.errors import Transient
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

INTERVAL_S = 0.5


class LateSaves:
    """A feed of the service. ``write`` writes a group; what it refuses belongs to another instance
    by now, or is saved already.
    """

    def __init__(self, write: Callable[[Sequence[OrderUpdate]], Awaitable[object]]) -> None:
        self._write = write
        self._waiting: dict[str, OrderUpdate] = {}
        """By intent."""
        self._writing = asyncio.Lock()

    async def __call__(self, _publish: Publish) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.save_all()

    def add(self, update: OrderUpdate) -> None:
        self._waiting[update.order.intent_id] = update

    def find(self, intent_id: str) -> OrderUpdate | None:
        """What waits to be saved of the intent's order; None: nothing does."""
        return self._waiting.get(intent_id)

    def drop(self, intent_id: str) -> None:
        """Forget what another statement has saved."""
        self._waiting.pop(intent_id, None)

    async def save_all(self) -> None:
        """Save what waits. What the database did not take now waits for the next time."""
        try:
            await self.flush()
        except Transient as error:
            logger.warning("outcomes of orders could not be saved, and are again: %s", error)

    async def flush(self) -> None:
        """Save all that waits. Raises: Transient; what was not saved waits on."""
        async with self._writing:
            while self._waiting:
                group = list(self._waiting.values())[:MAX_GROUP_SIZE]
                await self._write(group)
                for update in group:
                    if self._waiting.get(update.order.intent_id) is update:
                        del self._waiting[update.order.intent_id]
