"""Group commit: what callers want written while one write is under way goes out together as the
next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.domain.errors import Transient

Row = TypeVar("Row")
Result = TypeVar("Result")

LARGEST_GROUP = 500
"""Rows of one statement: beyond some hundred the commit's share of a row's cost is nothing, and a
failure makes more be written again."""


class GroupCommit(Generic[Row, Result]):
    """Call it with one row; get that row's own result once its group is committed.

    ``write`` takes a group and returns a result per row, in order. No timer: a lone row is written
    at once, and what comes while ``at_once`` groups are under way waits for the next, which holds
    ``largest`` rows at most. Raises: what ``write`` raised for the row alone. A group that fails
    for a reason of some row is written again row by row, so that a row that cannot be written fails
    its own caller only; one that fails because the database is away fails whole.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
        *,
        at_once: int = 1,
        largest: int = LARGEST_GROUP,
    ) -> None:
        self._write, self._at_once, self._largest = write, at_once, largest
        self._waiting: list[tuple[Row, asyncio.Future[Result]]] = []
        self._writers: set[asyncio.Task[None] | None] = set()

    async def __call__(self, row: Row) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, answer))
        if len(self._writers) < self._at_once:
            self._writers.add(asyncio.create_task(self._write_all()))
        return await answer

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = (
                    self._waiting[: self._largest],
                    self._waiting[self._largest :],
                )
                await self._write_group(group)
        finally:  # here and not in a callback of the task: between the two, a row would find a writer that writes no more
            self._writers.discard(asyncio.current_task())

    async def _write_group(self, group: list[tuple[Row, asyncio.Future[Result]]]) -> None:
        try:
            results = list(zip(group, await self._write([row for row, _ in group]), strict=True))
        except Transient as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's to judge
            if len(group) == 1:
                _fail(group, error)
                return
            for one in group:
                await self._write_group([one])
        else:
            for (_, answer), result in results:
                if not answer.done():
                    answer.set_result(result)


def _fail(group: list[tuple[Row, asyncio.Future[Result]]], error: Exception) -> None:
    for _, answer in group:
        if not answer.done():
            answer.set_exception(error)
