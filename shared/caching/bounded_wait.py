"""Requests that are waited for only as long as whoever is asked seems to answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from shared.caching.single_flight import SingleFlight

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class BoundedWait(Generic[Key, Result]):
    """Called with a key, it joins the running request for that key or starts one, and waits for it
    at most ``max_wait``.

    After a request that was not answered in that time nobody waits, for any key, until one is or
    ``pause`` is over: an outage costs one wait in each pause. Requests go on without their callers,
    so ``fetch`` must keep what it finds.
    """

    def __init__(
        self,
        fetch: Callable[[Key], Awaitable[Result]],
        *,
        max_wait: timedelta,
        pause: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self.max_wait = max_wait
        self._fetch, self._pause, self._now = fetch, pause, now
        self._resumes_at: datetime | None = None
        self._requests = SingleFlight(self._run)

    def is_running(self, key: Key) -> bool:
        return self._requests.is_running(key)

    async def __call__(self, key: Key) -> Result | None:
        """Return what the request returns; None: it had not ended in time. Raises what it raises
        in that time.
        """
        waits = self._resumes_at is None or self._now() >= self._resumes_at
        try:
            async with asyncio.timeout(self.max_wait.total_seconds() if waits else 0) as limit:
                return await self._requests(key)
        except TimeoutError:
            if not limit.expired():
                raise
        if waits:
            self._resumes_at = self._now() + self._pause
        return None

    async def _run(self, key: Key) -> Result:
        started_at = self._now()
        try:
            return await self._fetch(key)
        finally:
            if self._now() - started_at <= self.max_wait:
                self._resumes_at = None
