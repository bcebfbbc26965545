"""Group commit: rows that arrive during a write are written together as the next group."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.domain.errors import Transient

Row = TypeVar("Row")
Result = TypeVar("Result")

MAX_GROUP_SIZE = 500
"""Rows of one statement. With more than some hundred rows the cost of the commit per row is
negligible, and a failure makes more rows be written again."""


class GroupCommit(Generic[Row, Result]):
    """Called with one row, it returns the row's own result once its group is committed.

    ``write`` takes a group and returns one result per row, in order. There is no timer: a single
    row is written immediately, and rows that arrive while ``max_concurrent`` groups are being
    written wait for the next group of at most ``max_group_size`` rows.

    Raises: whatever ``write`` raised for the row. A group that fails because of some row is written
    again row by row, so that only the callers of bad rows fail. A group that fails because the
    database cannot be reached fails as a whole.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
        *,
        max_concurrent: int = 1,
        max_group_size: int = MAX_GROUP_SIZE,
    ) -> None:
        self._write, self._max_concurrent, self._max_group_size = (
            write,
            max_concurrent,
            max_group_size,
        )
        self._waiting: list[tuple[Row, asyncio.Future[Result]]] = []
        self._writers: set[asyncio.Task[None] | None] = set()

    async def __call__(self, row: Row) -> Result:
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, result))
        if len(self._writers) < self._max_concurrent:
            self._writers.add(asyncio.create_task(self._write_all()))
        return await result

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = (
                    self._waiting[: self._max_group_size],
                    self._waiting[self._max_group_size :],
                )
                await self._write_group(group)
        finally:
            # Not in a callback of the task: a row that came before the callback would count on a
            # writer that has ended.
            self._writers.discard(asyncio.current_task())

    async def _write_group(self, group: list[tuple[Row, asyncio.Future[Result]]]) -> None:
        try:
            results = list(zip(group, await self._write([row for row, _ in group]), strict=True))
        except Transient as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - every error is passed to the caller
            if len(group) == 1:
                _fail(group, error)
                return
            for member in group:
                await self._write_group([member])
        else:
            for (_, future), result in results:
                if not future.done():
                    future.set_result(result)


def _fail(group: list[tuple[Row, asyncio.Future[Result]]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
