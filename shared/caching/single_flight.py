"""One request for all who ask for the same thing at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class SingleFlight(Generic[Key, Answer]):
    """Call it with a key: joins the request that is under way for it, or begins one. A failure is
    everybody's, and is not kept.

    A caller that gives up does not take the others' answer away.
    """

    def __init__(self, fetch: Callable[[Key], Awaitable[Answer]]) -> None:
        self._fetch = fetch
        self._running: dict[Key, asyncio.Task[Answer]] = {}

    def is_running(self, key: Key) -> bool:
        return key in self._running

    async def __call__(self, key: Key) -> Answer:
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._run(key))
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _run(self, key: Key) -> Answer:
        return await self._fetch(key)
