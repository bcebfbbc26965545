"""Share balances with the other instances, some at a time."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from shared.messages.base import Message
from shared.messages.caches import BalancesFetched

logger = logging.getLogger(__name__)

GROUP_SIZE, GROUP_INTERVAL_S = 5, 0.1
"""Faust takes a millisecond of CPU or two for an entry, in the instance that publishes it too: of a
thousand balances at once it would hold up the copies that they were fetched for."""
MAX_WAITING = 1_000
"""More could not be shared before they are too old."""


class SharedCache(Protocol):
    """The cache table that all instances of preflight write and read, by proxy."""

    def get(self, key: str) -> bytes | None: ...

    async def put(self, message: Message) -> None: ...


class BalanceSharing:
    """Hands on the newest balance of each proxy, the one that has waited longest first.

    Another instance needs it only once it is given the proxy's partition, and fetches from the
    chain what it lacks: so a balance that is late, or left out, costs a request and no more.
    """

    def __init__(
        self, shared: SharedCache, *, now: Callable[[], datetime], max_age: timedelta
    ) -> None:
        self._shared, self._now, self._max_age = shared, now, max_age
        self._waiting: dict[str, BalancesFetched] = {}
        self._sharing: asyncio.Task[None] | None = None

    def share(self, fetched: BalancesFetched) -> None:
        """Returns at once."""
        self._waiting[fetched.proxy] = fetched
        if len(self._waiting) > MAX_WAITING:
            self._take()
        if self._sharing is None or self._sharing.done():
            self._sharing = asyncio.create_task(self._share_waiting())

    async def _share_waiting(self) -> None:
        while self._waiting:
            group = [self._take() for _ in range(min(GROUP_SIZE, len(self._waiting)))]
            results = await asyncio.gather(
                *(self._shared.put(each) for each in group if self._is_usable(each)),
                return_exceptions=True,
            )
            failures = [result for result in results if result is not None]
            if failures:
                logger.warning(
                    "%d balances could not be shared with the other instances: %s",
                    len(failures),
                    type(failures[0]).__name__,
                )
            await asyncio.sleep(GROUP_INTERVAL_S)

    def _take(self) -> BalancesFetched:
        return self._waiting.pop(next(iter(self._waiting)))

    def _is_usable(self, fetched: BalancesFetched) -> bool:
        return self._now() - fetched.fetched_at <= self._max_age
