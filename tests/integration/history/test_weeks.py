"""A week of a partitioned table is archived and leaves, and never with what has not ended."""

import asyncio
import gzip
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.errors import CommandError
from cli.history import prune as pruning
from cli.history.prune import sole_run
from cli.history.run import Scope
from shared.db.engine import transaction, without_limits
from shared.testing.waiting import eventually
from tests.integration.history.rows import (
    NOW,
    OLD,
    OLD_WEEK,
    YOUNG_WEEK,
    archive_all,
    insert_dead_letter,
    load,
    load_intents,
    prune_all,
    record_entry,
    sell_all,
    settle,
)

pytestmark = pytest.mark.integration


def part(scope: Scope, number: int = 1) -> Path:
    assert scope.folder is not None
    return scope.folder / "2025-12-29" / f"preflight.intents.{number}.jsonl.gz"


async def test_a_week_is_archived_and_leaves_and_later_ones_stay(
    engine: AsyncEngine, scope: Scope
) -> None:
    old, young = await record_entry(engine, 1), await record_entry(engine, 2, at=NOW)
    await sell_all(engine, 1, 2)
    (row,) = await load(
        engine, "select row_to_json(r)::text from preflight.intents r where token_id = '1'"
    )

    assert (await archive_all(engine, scope))[0]
    assert (await prune_all(engine, scope))[0]

    assert await load_intents(engine) == {young.intent_id: YOUNG_WEEK}
    assert await load(engine, f"select to_regclass('preflight.intents_{OLD_WEEK}')") == [None]
    with gzip.open(part(scope), "rt") as lines:
        (line,) = map(json.loads, lines)
    times = {name: line[name] for name in ("judged_at", "settled_at")}
    assert line == json.loads(row) | times
    assert line["intent_id"] == old.intent_id
    manifest = json.loads(part(scope).with_name("preflight.intents.1.json").read_text())
    assert (manifest["rows"], manifest["week"], manifest["key"]) == (
        1,
        "2025-12-29",
        ["intent_id"],
    )
    assert manifest["columns"]["judged_at"] == "timestamp with time zone"
    assert part(scope).with_name("preflight.verdicts.1.jsonl.gz").exists()


async def test_both_commands_may_be_run_again(engine: AsyncEngine, scope: Scope) -> None:
    await record_entry(engine, 1)
    await sell_all(engine, 1)
    for _ in range(2):
        assert (await archive_all(engine, scope))[0]
    assert not part(scope, 2).exists()

    for _ in range(2):
        assert (await prune_all(engine, scope))[0]

    assert await load_intents(engine) == {}
    assert (await archive_all(engine, scope)) == (True, ["Nothing is older than 5 weeks."])


async def test_what_is_not_archived_stays_unless_it_is_said_to_go(
    engine: AsyncEngine, scope: Scope
) -> None:
    intent = await record_entry(engine, 1)
    await sell_all(engine, 1)

    is_complete, lines = await prune_all(engine, scope)

    assert not is_complete
    assert any("Run `slipstream history archive`" in line for line in lines)
    assert await load_intents(engine) == {intent.intent_id: OLD_WEEK}
    assert (await prune_all(engine, replace(scope, folder=None)))[0]
    assert await load_intents(engine) == {}


async def test_what_changed_after_it_was_archived_is_archived_as_another_part(
    engine: AsyncEngine, scope: Scope
) -> None:
    await record_entry(engine, 1)
    await sell_all(engine, 1)
    await archive_all(engine, scope)
    await record_entry(engine, 2)
    await sell_all(engine, 2)

    assert not (await prune_all(engine, scope))[0]
    await archive_all(engine, scope)

    assert part(scope, 2).exists()
    assert (await prune_all(engine, scope))[0]
    assert await load_intents(engine) == {}


async def test_a_damaged_part_is_found_before_anything_leaves(
    engine: AsyncEngine, scope: Scope
) -> None:
    intent = await record_entry(engine, 1)
    await sell_all(engine, 1)
    await archive_all(engine, scope)
    part(scope).write_bytes(part(scope).read_bytes()[:-9])

    with pytest.raises(CommandError, match="is not what its manifest says"):
        await prune_all(engine, scope)

    assert await load_intents(engine) == {intent.intent_id: OLD_WEEK}


async def test_a_week_with_a_copy_that_has_not_ended_stays_as_a_whole(
    engine: AsyncEngine, scope: Scope
) -> None:
    open_, ended = await record_entry(engine, 1, settled=False), await record_entry(engine, 2)
    await sell_all(engine, 2)

    archived, lines = await archive_all(engine, scope)
    pruned, _ = await prune_all(engine, replace(scope, folder=None))

    assert (archived, pruned) == (False, False)
    stays = "stays, because the week holds 1 copies without a final order"
    assert f"2025-12-29 preflight.intents: {stays}" in lines
    assert set(await load_intents(engine)) == {open_.intent_id, ended.intent_id}

    await settle(engine, open_, at=NOW, bought=0)
    await archive_all(engine, scope)
    assert (await prune_all(engine, scope))[0]
    assert await load_intents(engine) == {}


async def test_open_dead_letters_of_the_time_keep_all_weeks_before_them(
    engine: AsyncEngine, scope: Scope
) -> None:
    await record_entry(engine, 1)
    await sell_all(engine, 1)
    await insert_dead_letter(engine, state="parked", at=OLD + timedelta(weeks=1))

    assert not (await prune_all(engine, replace(scope, folder=None)))[0]
    assert len(await load_intents(engine)) == 1


async def test_ids_without_a_day_leave_once_the_newest_is_old_enough(
    engine: AsyncEngine, scope: Scope
) -> None:
    insert = """
        insert into preflight.intents (intent_id, proxy, token_id, state, reserved_usdc,
            reserved_shares, cap_usdc, judged_at, settled_at)
        values (:id, 'p', 't', 'refused', 0, 0, 0, :at, :at)
    """
    insert_verdict = "insert into preflight.verdicts (intent_id, verdict) values (:id, '{}')"
    async with transaction(engine) as connection:
        for id_, at in (("1a" * 16, OLD), ("2a" * 16, NOW)):
            await connection.execute(text(insert), {"id": id_, "at": at})
            await connection.execute(text(insert_verdict), {"id": id_})
    later = replace(scope, now=NOW + timedelta(weeks=7))

    await archive_all(engine, scope)
    assert (await prune_all(engine, scope))[0]
    assert set((await load_intents(engine)).values()) == {"before"}

    await archive_all(engine, later)
    assert (await prune_all(engine, later))[0]
    assert await load_intents(engine) == {}
    assert await load(engine, "select count(*) from preflight.verdicts") == [0]


async def test_one_run_excludes_another_one(engine: AsyncEngine, scope: Scope) -> None:
    async with sole_run(engine):
        with pytest.raises(CommandError, match="under way"):
            await archive_all(engine, scope)

    assert (await archive_all(engine, scope))[0]


def count_busy_attempts(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What the attempts failed by that met a busy table; there are as many as the test needs."""
    found: list[Exception] = []
    is_busy = pruning._is_busy

    def remember(error: Exception) -> bool:
        found.append(error)
        return is_busy(error)

    monkeypatch.setattr(pruning, "_is_busy", remember)
    monkeypatch.setattr(pruning, "RETRY_AFTER_S", 0.01)
    monkeypatch.setattr(pruning, "ATTEMPTS", 10**6)
    return found


async def test_a_busy_table_is_tried_again_and_holds_up_nobody(
    engine: AsyncEngine, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader keeps the table for longer than the prune waits for it; meanwhile others write."""
    busy = count_busy_attempts(monkeypatch)
    await record_entry(engine, 1)
    await sell_all(engine, 1)
    async with without_limits(engine) as patient, transaction(patient) as reader:
        await reader.execute(text("select * from preflight.intents"))
        running = asyncio.create_task(prune_all(engine, replace(scope, folder=None)))
        for number in range(3, 6):
            await record_entry(engine, number, at=NOW)
        seen = len(busy)
        await eventually(lambda: len(busy) > seen + 1, what="further attempts")
        assert not running.done()

    assert (await running)[0]
    assert set((await load_intents(engine)).values()) == {YOUNG_WEEK}
