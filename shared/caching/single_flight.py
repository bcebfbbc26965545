"""One request for all concurrent callers that need the same thing."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Called with a key, it joins the running request for that key or starts one.

    A failure is raised to all of its callers and is not kept. A caller that is cancelled does not
    cancel the request of the others.
    """

    def __init__(self, fetch: Callable[[Key], Awaitable[Result]]) -> None:
        self._fetch = fetch
        self._running: dict[Key, asyncio.Task[Result]] = {}

    def is_running(self, key: Key) -> bool:
        return key in self._running

    async def __call__(self, key: Key) -> Result:
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._run(key))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _run(self, key: Key) -> Result:
        return await self._fetch(key)
