"""Turns to send an order: many that are approved at once don't fight for connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.domain.errors import Transient
from shared.polymarket.connections import LIMITS, Use

MAX_POSTS = LIMITS[Use.ORDERS]
"""Orders that are sent at the same time: as many as there are connections for them."""
MAX_WAIT_S = 10.0
"""Then the message is retried: one that waited for minutes would look as if its handler were stuck
(``KAFKA_STUCK_AFTER_S``)."""


class Turns:
    """First come, first served."""

    def __init__(self, *, posts: int = MAX_POSTS, wait_s: float = MAX_WAIT_S) -> None:
        self._free, self._wait_s = asyncio.Semaphore(posts), wait_s

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises: Transient where none came in time."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Transient(f"no turn to send an order within {self._wait_s:g} s") from None
        try:
            yield
        finally:
            self._free.release()
