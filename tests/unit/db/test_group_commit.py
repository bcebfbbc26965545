"""Rows that wait together are written together, and each caller gets what became of his own."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from shared.db.group_commit import MAX_GROUP_SIZE, GroupCommit
from shared.domain.errors import Transient


class Unwritable(Exception):
    """The row itself is at fault."""


@dataclass
class Table:
    """Writes of a database that can be held up; negative numbers it cannot store, and it can be
    away.
    """

    groups: list[list[int]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    away: bool = False
    too_few: bool = False

    async def write(self, rows: Sequence[int]) -> list[str]:
        self.groups.append(list(rows))
        await self.open.wait()
        if self.away:
            raise Transient("away")
        if any(row < 0 for row in rows):
            raise Unwritable
        return [f"kept {row}" for row in rows][: -1 if self.too_few else None]


async def behind_one(
    table: Table, commit: GroupCommit[int, str], rows: Sequence[int]
) -> list[str | BaseException]:
    """What becomes of ``rows`` that are asked for while another row's write is under way."""
    first = asyncio.create_task(commit(0))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(commit(row)) for row in rows]
    await asyncio.sleep(0)
    table.open.set()
    await asyncio.gather(first, return_exceptions=True)
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_waits_while_a_write_is_under_way_is_written_together_and_in_order() -> None:
    table = Table()

    kept = await behind_one(table, GroupCommit(table.write), [3, 1, 2])

    assert table.groups == [[0], [3, 1, 2]]
    assert kept == ["kept 3", "kept 1", "kept 2"]


async def test_as_many_groups_as_are_allowed_are_under_way_and_what_comes_then_waits_together() -> (
    None
):
    table = Table()
    commit = GroupCommit(table.write, max_concurrent=2)
    asking = []
    for row in range(5):
        asking.append(asyncio.create_task(commit(row)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert table.groups == [[0], [1]]

    table.open.set()

    assert await asyncio.gather(*asking) == [f"kept {row}" for row in range(5)]
    assert table.groups == [[0], [1], [2, 3, 4]]


async def test_a_group_holds_as_many_rows_as_it_may() -> None:
    table = Table()

    await behind_one(table, GroupCommit(table.write, max_group_size=2), [1, 2, 3])

    assert table.groups == [[0], [1, 2], [3]]


async def test_a_row_that_comes_as_the_writer_ends_is_written() -> None:
    table = Table()
    table.open.set()
    commit = GroupCommit(table.write)

    for row in range(5):
        assert await asyncio.wait_for(commit(row), timeout=10) == f"kept {row}"


async def test_a_lone_row_waits_for_nobody() -> None:
    table = Table()
    table.open.set()

    assert await GroupCommit(table.write)(7) == "kept 7"


async def test_a_group_has_a_largest_size() -> None:
    table = Table()

    kept = await behind_one(table, GroupCommit(table.write), range(1, MAX_GROUP_SIZE + 3))

    assert [len(group) for group in table.groups] == [1, MAX_GROUP_SIZE, 2]
    assert kept == [f"kept {row}" for row in range(1, MAX_GROUP_SIZE + 3)]


async def test_a_row_that_cannot_be_written_fails_its_own_caller_only() -> None:
    table = Table()

    one, bad, two = await behind_one(table, GroupCommit(table.write), [1, -1, 2])

    assert (one, two) == ("kept 1", "kept 2")
    assert isinstance(bad, Unwritable)


async def test_a_database_that_is_away_fails_everybody_and_is_not_asked_for_each() -> None:
    table = Table(away=True)

    failed = await behind_one(table, GroupCommit(table.write), [1, 2, 3])

    assert all(isinstance(each, Transient) for each in failed)
    assert table.groups == [[0], [1, 2, 3]]


async def test_after_a_failure_the_next_row_is_written() -> None:
    table = Table(away=True)
    commit = GroupCommit(table.write)
    await behind_one(table, commit, [1])
    table.away = False

    assert await commit(2) == "kept 2"


async def test_a_caller_that_gives_up_takes_no_other_with_him() -> None:
    table = Table()
    commit = GroupCommit(table.write)
    tasks = [asyncio.create_task(commit(row)) for row in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    table.open.set()

    assert [await tasks[0], await tasks[2]] == ["kept 1", "kept 3"]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def test_a_write_that_answers_for_too_few_rows_fails_and_keeps_nobody_waiting() -> None:
    table = Table(too_few=True)

    failed = await behind_one(table, GroupCommit(table.write), [1, 2])

    assert all(isinstance(each, ValueError) for each in failed)
