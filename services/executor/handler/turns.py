"""Turns to send an order: many that are approved at once don't fight for connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.domain.errors import Transient

MAX_POSTS = 32
"""Orders that are sent at the same time: as many as there are connections for them. The venue's own
limits are far above what these can use."""
MAX_WAIT_S = 10.0
"""As long as the venue has to reply to one order. A message that waited for longer would look like
one whose handler is stuck."""


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
