"""Rows that wait together are written together, and each caller gets its own row's result."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from shared.db.group_commit import MAX_GROUP_SIZE, GroupCommit
from shared.domain.errors import Transient


class Unwritable(Exception):
    """The row itself cannot be written."""


@dataclass
class Table:
    """A database whose writes can be delayed and can fail; it cannot store negative numbers."""

    groups: list[list[int]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    unreachable: bool = False
    too_few: bool = False

    async def write(self, rows: Sequence[int]) -> list[str]:
        self.groups.append(list(rows))
        await self.open.wait()
        if self.unreachable:
            raise Transient("unreachable")
        if any(row < 0 for row in rows):
            raise Unwritable
        return [f"stored {row}" for row in rows][: -1 if self.too_few else None]


async def write_behind_another(
    table: Table, commit: GroupCommit[int, str], rows: Sequence[int]
) -> list[str | BaseException]:
    """Write ``rows`` while the write of another row is running, and return their results."""
    first = asyncio.create_task(commit(0))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(commit(row)) for row in rows]
    await asyncio.sleep(0)
    table.open.set()
    await asyncio.gather(first, return_exceptions=True)
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_rows_that_wait_during_a_write_are_written_together_in_order() -> None:
    table = Table()

    results = await write_behind_another(table, GroupCommit(table.write), [3, 1, 2])

    assert table.groups == [[0], [3, 1, 2]]
    assert results == ["stored 3", "stored 1", "stored 2"]


async def test_rows_beyond_the_maximum_of_concurrent_groups_wait_together() -> None:
    table = Table()
    commit = GroupCommit(table.write, max_concurrent=2)
    tasks = []
    for row in range(5):
        tasks.append(asyncio.create_task(commit(row)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert table.groups == [[0], [1]]

    table.open.set()

    assert await asyncio.gather(*tasks) == [f"stored {row}" for row in range(5)]
    assert table.groups == [[0], [1], [2, 3, 4]]


async def test_a_group_has_at_most_the_given_number_of_rows() -> None:
    table = Table()

    await write_behind_another(table, GroupCommit(table.write, max_group_size=2), [1, 2, 3])

    assert table.groups == [[0], [1, 2], [3]]


async def test_a_row_that_arrives_as_the_writer_ends_is_written() -> None:
    table = Table()
    table.open.set()
    commit = GroupCommit(table.write)

    for row in range(5):
        assert await asyncio.wait_for(commit(row), timeout=60) == f"stored {row}"


async def test_a_single_row_is_written_immediately() -> None:
    table = Table()
    table.open.set()

    assert await GroupCommit(table.write)(7) == "stored 7"


async def test_a_group_has_a_maximum_size_by_default() -> None:
    table = Table()

    results = await write_behind_another(
        table, GroupCommit(table.write), range(1, MAX_GROUP_SIZE + 3)
    )

    assert [len(group) for group in table.groups] == [1, MAX_GROUP_SIZE, 2]
    assert results == [f"stored {row}" for row in range(1, MAX_GROUP_SIZE + 3)]


async def test_a_row_that_cannot_be_written_fails_its_own_caller_only() -> None:
    table = Table()

    one, bad, two = await write_behind_another(table, GroupCommit(table.write), [1, -1, 2])

    assert (one, two) == ("stored 1", "stored 2")
    assert isinstance(bad, Unwritable)


async def test_an_unreachable_database_fails_all_callers_without_a_write_per_row() -> None:
    table = Table(unreachable=True)

    failed = await write_behind_another(table, GroupCommit(table.write), [1, 2, 3])

    assert all(isinstance(each, Transient) for each in failed)
    assert table.groups == [[0], [1, 2, 3]]


async def test_after_a_failure_the_next_row_is_written() -> None:
    table = Table(unreachable=True)
    commit = GroupCommit(table.write)
    await write_behind_another(table, commit, [1])
    table.unreachable = False

    assert await commit(2) == "stored 2"


async def test_a_cancelled_caller_does_not_cancel_the_others() -> None:
    table = Table()
    commit = GroupCommit(table.write)
    tasks = [asyncio.create_task(commit(row)) for row in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    table.open.set()

    assert [await tasks[0], await tasks[2]] == ["stored 1", "stored 3"]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def test_a_write_with_too_few_results_fails_all_callers() -> None:
    table = Table(too_few=True)

    failed = await write_behind_another(table, GroupCommit(table.write), [1, 2])

    assert all(isinstance(each, ValueError) for each in failed)
