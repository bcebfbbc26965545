"""Old and young rows, and what is left of them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history.rules import partitioned_tables
from cli.history.run import Scope, run_archive, run_prune
from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.db.engine import fetch_rows, transaction
from shared.db.partitions import create_partitions
from shared.domain.ids import intent_id
from shared.messages.intents import Intent
from tests.builders import NOON, an_intent, an_outcome, approved, facts, shares, usdc
from tests.integration.db.rows import insert_row

OLD, NOW = NOON, NOON + timedelta(weeks=8)
"""The old week begins on 2025-12-29, and may leave since 2026-02-09."""
OLD_WEEK, YOUNG_WEEK = "20251229", "20260223"


async def create_weeks(engine: AsyncEngine) -> None:
    """The partitions of both times."""
    for moment in (OLD, NOW):
        await create_partitions(engine, partitioned_tables(), now=moment)


def numbered_intent(number: int, *, at: datetime = OLD, **changes: Any) -> Intent:
    id_ = intent_id(trade=f"trade-{number}", from_shares=0, follow_id="follow-1", intended_at=at)
    fields = {
        "intent_id": id_,
        "token_id": str(number),
        "filled_at": at - timedelta(seconds=1),
        "seen_at": at,
        "intended_at": at,
    }
    return an_intent(**fields | changes)


async def record_entry(
    engine: AsyncEngine, number: int, *, at: datetime = OLD, settled: bool = True, bought: int = 10
) -> Intent:
    """An approved entry in a token of its own, and its end."""
    verdicts, intent = PostgresVerdicts(engine), numbered_intent(number, at=at)
    await verdicts.record(approved(intent, occurred_at=at, facts=facts()))
    if settled:
        await settle(engine, intent, at=at, bought=bought)
    return intent


async def settle(engine: AsyncEngine, intent: Intent, *, at: datetime, bought: int) -> None:
    report = an_outcome(
        intent_id=intent.intent_id, shares=shares(bought), usdc=usdc(5), token_id=intent.token_id
    )
    await PostgresVerdicts(engine).settle(report, now=at)


async def sell_all(engine: AsyncEngine, *numbers: int) -> None:
    """Without a trace: the follow holds nothing of these tokens any more."""
    async with transaction(engine) as connection:
        await connection.execute(
            text("update preflight.positions set shares = 0 where token_id = any(:tokens)"),
            {"tokens": [str(number) for number in numbers]},
        )


async def insert_dead_letter(engine: AsyncEngine, *, state: str, at: datetime) -> int:
    async with transaction(engine) as connection:
        await insert_row(
            connection,
            "control.dead_letters",
            service="preflight",
            topic="quoted-intents",
            partition=0,
            record_offset=int(at.timestamp()),
            record_at=int(at.timestamp() * 1000),
            record_key=b"key",
            record_value=b"\x00value",
            record_headers="[]",
            state=state,
            reason="unreadable",
            parked_at=at,
            resolved_at=None if state == "parked" else at,
        )
        (row,) = await fetch_rows(connection, "select max(number) as n from control.dead_letters")
    return int(row.n)


async def load(engine: AsyncEngine, query: str) -> list[Any]:
    """The first column."""
    async with transaction(engine) as connection:
        return [row[0] for row in await fetch_rows(connection, query)]


async def load_intents(engine: AsyncEngine) -> Mapping[str, str]:
    """The partition of each intent, without the table's name."""
    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select intent_id, split_part(tableoid::regclass::text, 'intents_', 2) as partition "
            "from preflight.intents",
        )
    return {row.intent_id: row.partition for row in rows}


async def archive_all(engine: AsyncEngine, scope: Scope) -> tuple[bool, list[str]]:
    lines: list[str] = []
    return await run_archive(engine, scope, lines.append), lines


async def prune_all(engine: AsyncEngine, scope: Scope) -> tuple[bool, list[str]]:
    lines: list[str] = []
    return await run_prune(engine, scope, lines.append), lines
