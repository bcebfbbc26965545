"""What leaves row by row, and what of it stays, however old, because something still reads it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history.run import Scope
from services.ingest.adapters import PostgresTrades
from services.ingest.decisions import (
    CopySize,
    CopySlice,
    FillRow,
    Lot,
    Reconciliation,
    SizeState,
    row_key,
)
from shared.db.controls import save_follows
from shared.db.engine import transaction
from shared.domain.terms import EntryMode
from shared.messages.leader_fills import LeaderFillSeen
from tests.builders import NOON, OTHER_PROXY, PROXY, a_fill, a_follow, an_intent, usdc
from tests.integration.db.rows import insert_row
from tests.integration.history.rows import (
    NOW,
    OLD,
    archive_all,
    insert_dead_letter,
    load,
    prune_all,
    record_entry,
)

pytestmark = pytest.mark.integration

YOUNG = NOW - timedelta(days=1)


async def record_fill(
    trades: PostgresTrades, fill: LeaderFillSeen, *sizes: CopySize, at: datetime = OLD
) -> None:
    """A fill that is seen and copied whole at that time, with the sizes of its copies."""
    copied = CopySlice(
        from_shares=0,
        to_shares=fill.shares,
        caused_by=row_key(fill),
        sequence=0,
        controls_version=1,
        intended_at=at,
    )
    row = FillRow(shares=fill.shares, filled_at=fill.filled_at)
    slices = (copied,) if sizes else ()
    await trades.record(fill, Reconciliation(row=row, slices=slices), sizes)


def a_size(fill: LeaderFillSeen, number: int, *lots: Lot, follow: str = "follow-1") -> CopySize:
    return CopySize(
        trade_id=fill.trade_id,
        sequence=0,
        follow_id=follow,
        token_id=fill.token_id,
        number=number,
        state=SizeState.CARRIED,
        usdc=usdc("0.5"),
        carried_usdc=0,
        accrued_usdc=usdc("0.5"),
        let_go_usdc=0,
        lots=lots,
    )


def a_transaction(number: int) -> str:
    return f"0x{number:064x}"


async def archive_and_prune(engine: AsyncEngine, scope: Scope) -> None:
    await archive_all(engine, scope)
    is_complete, lines = await prune_all(engine, scope)
    assert is_complete, lines


async def test_fills_and_slices_leave_by_their_time(engine: AsyncEngine, scope: Scope) -> None:
    trades = PostgresTrades(engine)
    for number, at in enumerate((OLD, YOUNG)):
        fill = a_fill(transaction_hash=a_transaction(number), occurred_at=at, filled_at=at)
        await record_fill(trades, fill, a_size(fill, number), at=at)

    await archive_and_prune(engine, scope)

    for table, column in (("fills", "seen_at"), ("copy_slices", "intended_at")):
        assert await load(engine, f"select {column} from ingest.{table}") == [YOUNG]
    assert await load(engine, "select number from ingest.copy_sizes") == [1]


async def test_what_is_carried_stays_with_its_slice(engine: AsyncEngine, scope: Scope) -> None:
    """The newest size of a follow and token says what it carries. One that carries nothing leaves
    after all others.
    """
    trades = PostgresTrades(engine)
    fills = [a_fill(transaction_hash=a_transaction(number)) for number in range(2)]
    lot = Lot(trade_id=fills[1].trade_id, usdc=usdc("0.5"), since=OLD, terms_version=1)
    for number, fill in enumerate(fills):
        carried = [lot] if number else []
        sizes = [a_size(fill, number, *carried), a_size(fill, number, follow="follow-2")]
        await record_fill(trades, fill, *sizes)

    await archive_and_prune(engine, scope)
    left = "select follow_id || number from ingest.copy_sizes order by 1"
    assert await load(engine, left) == ["follow-11", "follow-21"]

    await archive_and_prune(engine, scope)
    assert await load(engine, left) == ["follow-11"]
    assert await load(engine, "select trade_id from ingest.copy_slices") == [fills[1].trade_id]


async def insert_exit(engine: AsyncEngine, exit_id: str, **values: Any) -> None:
    row = {
        "exit_id": exit_id,
        "proxy": PROXY,
        "leader": "leader",
        "follow_id": "follow-1",
        "token_id": "9",
        "intent": an_intent().model_dump_json(),
        "base_shares": 1,
        "awaited_entries": [],
        "awaited_exits": [],
        "sold_shares": 0,
        "attempts": 1,
        "state": "done",
        "reason": "",
        "expires_at": OLD,
        "updated_at": OLD,
    }
    async with transaction(engine) as connection:
        await insert_row(connection, "preflight.exits", **row | values)


async def test_exits_leave_once_nobody_reads_them(engine: AsyncEngine, scope: Scope) -> None:
    held = await record_entry(engine, 1)
    await insert_exit(engine, "done")
    await insert_exit(engine, "young", updated_at=YOUNG)
    await insert_exit(engine, "unsold", state="unsold")
    await insert_exit(engine, "unsold and held", state="unsold", token_id=held.token_id)
    await insert_exit(engine, "i20260225-awaits", state="open", token_id="8", updated_at=YOUNG)
    await insert_exit(engine, "awaited", token_id="8")

    await archive_and_prune(engine, scope)

    assert await load(engine, "select exit_id from preflight.exits order by 1") == [
        "awaited",
        "i20260225-awaits",
        "unsold and held",
        "young",
    ]


async def insert_level(engine: AsyncEngine, follow: str, token: str, **values: Any) -> None:
    row = {
        "follow_id": follow,
        "token_id": token,
        "proxy": PROXY,
        "leader": "leader",
        "leader_token_id": token,
        "leader_shares": 5,
        "block_number": 1,
        "accounted_at": OLD,
        "updated_at": OLD,
    }
    async with transaction(engine) as connection:
        await insert_row(connection, "preflight.leader_levels", **row | values)


async def test_levels_stay_while_they_are_compared(engine: AsyncEngine, scope: Scope) -> None:
    mirror = a_follow(follow_id="mirror", proxy=OTHER_PROXY, entries=EntryMode.MIRROR)
    await save_follows(engine, [a_follow(), mirror], by="test", change="follow")
    held = await record_entry(engine, 1)
    await insert_level(engine, "follow-1", held.token_id)
    await insert_level(engine, "follow-1", "not held")
    await insert_level(engine, "follow-1", "young", updated_at=YOUNG)
    await insert_level(engine, "mirror", "seen")
    await insert_level(engine, "mirror", "left", leader_shares=0)

    await archive_and_prune(engine, scope)

    assert await load(engine, "select token_id from preflight.leader_levels order by 1") == [
        held.token_id,
        "seen",
        "young",
    ]


async def test_dead_letters_leave_with_their_decisions_once_they_are_resolved(
    engine: AsyncEngine, scope: Scope
) -> None:
    numbers = {
        name: await insert_dead_letter(engine, state=state, at=at)
        for name, state, at in (
            ("old", "discarded", OLD),
            ("young", "redriven", YOUNG),
            ("open", "parked", NOON + timedelta(weeks=7)),
        )
    }
    async with transaction(engine) as connection:
        for number in numbers.values():
            await insert_row(
                connection,
                "control.dead_letter_decisions",
                number=number,
                made_at=OLD,
                made_by="somebody",
                decision="discarded",
                why="a test",
            )

    await archive_and_prune(engine, scope)

    left = sorted((numbers["young"], numbers["open"]))
    for table in ("dead_letters", "dead_letter_decisions"):
        assert await load(engine, f"select number from control.{table} order by 1") == left


async def test_caps_of_which_nothing_counts_are_deleted(engine: AsyncEngine, scope: Scope) -> None:
    insert = "insert into preflight.spending_windows values (:scope, cast(:usdc as jsonb))"
    async with transaction(engine) as connection:
        for scope_, hour in (("token:1", OLD), ("token:2", YOUNG)):
            usdc_by_hour = f'{{"{hour:%Y-%m-%dT%H}": 5}}'
            await connection.execute(text(insert), {"scope": scope_, "usdc": usdc_by_hour})

    assert (await prune_all(engine, scope))[0]

    assert await load(engine, "select scope from preflight.spending_windows") == ["token:2"]
