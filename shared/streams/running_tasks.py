"""Tasks that end on their own, and that are cancelled together at the end of the process."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class RunningTasks:
    """Keeps tasks referenced while they run. Whoever starts one reports its errors."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Retrieved, or asyncio would log the error with its text.
            task.exception()
