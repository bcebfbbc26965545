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

    def __init__(self, ask: Callable[[Key], Awaitable[Answer]]) -> None:
        self._ask = ask
        self._under_way: dict[Key, asyncio.Task[Answer]] = {}

    def is_under_way(self, key: Key) -> bool:
        return key in self._under_way

    async def __call__(self, key: Key) -> Answer:
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._answer(key))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def _answer(self, key: Key) -> Answer:
        return await self._ask(key)
