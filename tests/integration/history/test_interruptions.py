"""A run may end at any point, and the next one continues: nothing leaves that is not archived."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history import archive as archiving
from cli.history import prune as pruning
from cli.history.files import PartWriter, read_rows
from cli.history.run import Scope
from services.ingest.adapters import PostgresTrades
from tests.builders import a_fill
from tests.fakes import Killed
from tests.integration.history.rows import (
    archive_all,
    load,
    load_intents,
    prune_all,
    record_entry,
    sell_all,
)
from tests.integration.history.test_rows import record_fill

pytestmark = pytest.mark.integration


def killed_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose process is killed right after so many calls of it."""
    made = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal made
        made += 1
        if made > calls:
            raise Killed
        return function(*arguments, **named)

    return called


def archived_ids(scope: Scope) -> set[str]:
    """Of the intents, by all complete parts."""
    assert scope.folder is not None
    return {
        row["intent_id"]
        for manifest in scope.folder.glob("*/preflight.intents.*.json")
        for row in read_rows(manifest.with_name(manifest.name.replace(".json", ".jsonl.gz")))
    }


@pytest.mark.parametrize("step", ["write", "finish", "measure", "verify", "save_manifest"])
async def test_an_archive_that_was_interrupted_is_written_again(
    step: str, engine: AsyncEngine, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = await record_entry(engine, 1)
    await sell_all(engine, 1)
    owner: Any = PartWriter if step in ("write", "finish") else archiving
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed_after(0, getattr(owner, step)))
        with pytest.raises(Killed):
            await archive_all(engine, scope)
    assert not (await prune_all(engine, scope))[0]
    assert len(await load_intents(engine)) == 1

    await archive_all(engine, scope)
    assert archived_ids(scope) == {intent.intent_id}
    assert (await prune_all(engine, scope))[0]
    assert await load_intents(engine) == {}


@pytest.mark.parametrize("step", ["find_archived", "_load_hold", "_detach"])
async def test_a_week_is_whole_or_gone_where_its_prune_was_interrupted(
    step: str, engine: AsyncEngine, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = await record_entry(engine, 1)
    await sell_all(engine, 1)
    await archive_all(engine, scope)
    with monkeypatch.context() as patch:
        patch.setattr(pruning, step, killed_after(0, getattr(pruning, step)))
        with pytest.raises(Killed):
            await prune_all(engine, scope)
    assert set(await load_intents(engine)) == {intent.intent_id}

    assert (await prune_all(engine, scope))[0]
    assert await load_intents(engine) == {}


@pytest.mark.parametrize("batches", [0, 1, 2])
async def test_rows_that_were_left_by_an_interrupted_prune_leave_with_the_next(
    batches: int, engine: AsyncEngine, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "ROWS_PER_BATCH", 2)
    trades = PostgresTrades(engine)
    for number in range(5):
        await record_fill(trades, a_fill(row_id=str(number)))
    await archive_all(engine, scope)
    with monkeypatch.context() as patch:
        patch.setattr(pruning, "_delete", killed_after(batches, pruning._delete))
        with pytest.raises(Killed):
            await prune_all(engine, scope)
    assert await load(engine, "select count(*) from ingest.fills") == [5 - 2 * batches]

    assert (await prune_all(engine, scope))[0]
    assert await load(engine, "select count(*) from ingest.fills") == [0]


async def test_rows_that_came_after_their_archive_stay_until_the_next(
    engine: AsyncEngine, scope: Scope
) -> None:
    trades = PostgresTrades(engine)
    await record_fill(trades, a_fill(row_id="1"))
    await archive_all(engine, scope)
    await record_fill(trades, a_fill(row_id="2"))

    is_complete, lines = await prune_all(engine, scope)

    assert is_complete
    assert any("1 are not in the archive yet" in line for line in lines)
    assert await load(engine, "select row_id from ingest.fills") == ["2"]
    await archive_all(engine, scope)
    assert (await prune_all(engine, scope))[0]
    assert await load(engine, "select row_id from ingest.fills") == []


async def test_rows_without_an_archive_stay(engine: AsyncEngine, scope: Scope) -> None:
    await record_fill(PostgresTrades(engine), a_fill())

    assert not (await prune_all(engine, scope))[0]
    assert await load(engine, "select count(*) from ingest.fills") == [1]
    assert (await prune_all(engine, replace(scope, folder=None)))[0]
    assert await load(engine, "select count(*) from ingest.fills") == [0]
