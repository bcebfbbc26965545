"""Rows of the previous release keep their amounts and their meaning under the new names."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from pydantic import TypeAdapter
from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.executor.decisions import VenueReply
from services.preflight.decisions import Verdict
from shared.db import tables
from shared.db.dead_letters import load_dead_letter
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from shared.messages.leader_fills import LeaderFillSeen
from shared.streams.dead_letter_store import DeadLetterState
from tests.builders import (
    LEADER,
    NOON,
    ORDER_HASH,
    PROXY,
    TOKEN,
    TRANSACTION,
    a_fill,
    an_intent,
    approved,
    refused,
    shares,
    usdc,
)
from tests.integration.db.rows import insert_row
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

PREVIOUS = "0006"
SHARES, USDC = shares("1234567.654321"), usdc("987654.123456")

FILL = a_fill(title='He said "witness": "yes"', shares=SHARES)
APPROVED = approved(an_intent(title='"judged": \x00', usdc=USDC, shares=SHARES), usdc=USDC)
REFUSED = refused()
EXIT = an_intent(side="SELL", shares=SHARES)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of a database of the previous release, with rows that it wrote."""
    engine = open_engine(patient_settings(database_url))
    async with engine.begin() as connection:
        await connection.execute(text("create schema control"))
        await connection.run_sync(upgrade_to_previous)
        await insert_old_rows(connection)
    yield engine
    await engine.dispose()


def upgrade_to_previous(connection: Connection) -> None:
    command.upgrade(config(connection), PREVIOUS)


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


def old_json(message: Any, *, old: str, new: str) -> str:
    """The message as the previous release wrote it, when the field ``new`` was called ``old``."""
    fields = json.loads(message.model_dump_json())
    named = {old if name == new else name: value for name, value in fields.items()}
    return json.dumps(named, separators=(",", ":"))


OLD_FILL = old_json(FILL, old="witness", new="source").replace(
    '"lowest_price":null,"highest_price":null,', ""
)
OLD_APPROVED = old_json(APPROVED, old="judged", new="facts")
OLD_REFUSED = old_json(REFUSED, old="judged", new="facts")


async def insert_old_rows(connection: AsyncConnection) -> None:
    await insert_row(
        connection,
        "ingest.fills",
        trade_id="trade-1",
        witness="rtds",
        row_id="row-1",
        shares=SHARES,
        seen_at=NOON,
        leader=LEADER,
        transaction_hash=TRANSACTION,
        token_id=TOKEN,
        side="BUY",
        filled_at=NOON,
        waits=True,
    )
    await insert_row(
        connection,
        "ingest.fills",
        trade_id="trade-0",
        witness="chain",
        row_id="row-0",
        shares=1,
        seen_at=NOON,
    )
    for start, fill in enumerate((OLD_FILL, None, "")):
        await insert_row(
            connection,
            "ingest.parts",
            trade_id="trade-1",
            from_shares=start,
            to_shares=SHARES,
            witness="rtds",
            row_id="row-1",
            controls_version=7,
            intended_at=NOON,
            resent_of="trade-0",
            fill=fill,
        )
    for intent_id, verdict in (("a", OLD_APPROVED), ("r", OLD_REFUSED), ("e", "")):
        await insert_row(
            connection,
            "preflight.intents",
            intent_id=intent_id,
            proxy=PROXY,
            token_id=TOKEN,
            state="approved",
            reserved_usdc=USDC,
            reserved_shares=SHARES,
            cap_usdc=USDC,
            day=NOON.date(),
            verdict=verdict,
            judged_at=NOON,
        )
    for intent_id, last_reply, intent in (
        ("later", "not_now", ""),
        ("exit", "killed", EXIT.model_dump_json()),
        ("lost", "", ""),
    ):
        await insert_row(
            connection,
            "executor.orders",
            intent_id=intent_id,
            proxy=PROXY,
            order_hash=f"{ORDER_HASH}{intent_id}",
            body="{}",
            side="SELL",
            token_id=TOKEN,
            leader=LEADER,
            leader_price=APPROVED.limit_price,
            limit_price=APPROVED.limit_price,
            fee_rate=0,
            state="killed" if last_reply == "killed" else "unknown",
            usdc=USDC,
            expires_at=NOON,
            seen_at=NOON,
            intended_at=NOON,
            quoted_at=NOON,
            approved_at=NOON,
            signed_at=NOON,
            told=last_reply,
            looks=2,
            doubted_since=NOON + timedelta(seconds=1),
            asked_shares=SHARES,
            intent=intent,
        )
    await insert_row(
        connection,
        "control.dead_letters",
        service="executor",
        topic="approved-intents",
        partition=3,
        record_offset=17,
        record_at=1_700_000_000_000,
        record_key=PROXY.encode(),
        record_value=b"{",
        record_headers="[]",
        state="discarded",
        reason="not an IntentApproved",
        parked_at=NOON,
        settled_at=NOON + timedelta(seconds=2),
    )


async def test_old_rows_are_read_under_the_new_names_with_the_same_amounts(
    engine: AsyncEngine,
) -> None:
    await migrate(engine)

    assert await find_differences(engine) == ""
    async with transaction(engine) as connection:
        await check_ingest(connection)
        await check_preflight(connection)
        await check_executor(connection)
    dead_letter = await load_dead_letter(engine, 1)
    assert dead_letter is not None
    assert dead_letter.state is DeadLetterState.DISCARDED
    assert dead_letter.resolved_at == NOON + timedelta(seconds=2)


async def check_ingest(connection: AsyncConnection) -> None:
    fills = (await connection.execute(select(tables.fills).order_by("trade_id"))).all()
    assert [(row.source, row.awaits_confirmation, row.shares) for row in fills] == [
        ("chain", False, 1),
        ("rtds", True, SHARES),
    ]
    slices = (await connection.execute(select(tables.copy_slices).order_by("from_shares"))).all()
    assert [(row.source, row.to_shares) for row in slices] == [("rtds", SHARES)] * 3
    assert LeaderFillSeen.model_validate_json(slices[0].fill) == FILL
    assert [row.fill for row in slices[1:]] == [None, ""]


async def check_preflight(connection: AsyncConnection) -> None:
    rows = (await connection.execute(select(tables.intents))).all()
    verdicts = {
        row.intent_id: row.verdict for row in await connection.execute(select(tables.verdicts))
    }
    verdict: TypeAdapter[Verdict] = TypeAdapter(Verdict)
    assert verdict.validate_json(verdicts["a"]) == APPROVED
    assert verdict.validate_json(verdicts["r"]) == REFUSED
    assert verdicts["e"] == ""
    assert {(row.reserved_usdc, row.reserved_shares, row.cap_usdc) for row in rows} == {
        (USDC, SHARES, USDC)
    }


async def check_executor(connection: AsyncConnection) -> None:
    rows = await fetch_rows(connection, "select * from executor.orders_with_states")
    assert {row.intent_id: VenueReply(row.last_reply) for row in rows} == {
        "later": VenueReply.RETRY_LATER,
        "exit": VenueReply.KILLED,
        "lost": VenueReply.NO_REPLY,
    }
    assert {(row.empty_lookups, row.requested_shares, row.usdc) for row in rows} == {
        (2, SHARES, USDC)
    }
    assert {row.unverified_since for row in rows} == {NOON + timedelta(seconds=1)}


async def test_indexes_are_used_under_their_new_names(engine: AsyncEngine) -> None:
    await migrate(engine)

    async with transaction(engine) as connection:
        await connection.execute(text("set local enable_seqscan = off"))
        await connection.execute(text("set local enable_sort = off"))
        from_socket = await explain(
            connection,
            "select trade_id from ingest.fills where source = 'rtds' "
            "and leader = 'a' and row_id = 'b' and filled_at > now()",
        )
        resent = await explain(
            connection, "select trade_id from ingest.copy_slices where resent_of = 'trade-0'"
        )

    assert "fills_from_socket" in from_socket
    assert "copy_slices_resent" in resent


async def explain(connection: AsyncConnection, query: str) -> str:
    return "\n".join(row[0] for row in await fetch_rows(connection, f"explain {query}"))


async def test_a_downgrade_restores_the_old_names_and_values(engine: AsyncEngine) -> None:
    before = await dump(engine)
    await migrate(engine)

    async with engine.begin() as connection:
        await connection.run_sync(downgrade_to_previous)

    for row in before["executor.orders"]:
        row["intent"] = ""  # of no use since 0009, and dropped by 0021

    assert await dump(engine) == before
    assert before["ingest.fills"][0]["witness"] == "chain"
    assert json.loads(before["preflight.intents"][0]["verdict"])["judged"]


async def dump(engine: AsyncEngine) -> dict[str, list[dict[str, Any]]]:
    """The rows, and the comments of tables and columns, of the previous release's tables."""
    names = (
        "ingest.fills",
        "ingest.parts",
        "preflight.intents",
        "executor.orders",
        "control.dead_letters",
    )
    async with transaction(engine) as connection:
        rows = {
            name: await fetch_rows(connection, f"select * from {name} order by 1, 2")
            for name in names
        }
        rows["comments"] = await fetch_rows(
            connection,
            "select c.oid::regclass::text as name, d.objsubid, d.description "
            "from pg_description d join pg_class c on c.oid = d.objoid "
            "join pg_namespace n on n.oid = c.relnamespace "
            "where d.classoid = 'pg_class'::regclass and n.nspname = any(:schemas) order by 1, 2",
            schemas=list(tables.SCHEMAS),
        )
    return {name: [dict(row._mapping) for row in found] for name, found in rows.items()}
