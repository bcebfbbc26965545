"""The history of intents moves into partitions without losing a row, and what copies are judged by
is made from it.
"""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import Limits
from shared.clock import utc_now
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from shared.db.partitions import find_week
from shared.domain.follows import GLOBAL
from shared.domain.money import Side
from shared.messages.intents import IntentApproved, IntentRefused
from shared.messages.refusals import Refusal
from tests.builders import PROXY, TOKEN, an_intent, an_outcome, approved, refused, seconds, usdc
from tests.integration.db.rows import insert_row
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

PREVIOUS = "0018"
NOW = utc_now()
LIMITS = Limits(
    max_quote_age=seconds(5),
    max_last_book_age=seconds(20),
    max_bound_age=seconds(70),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
    max_open_positions=10,
)
OLD_ID, OPEN_ID, REFUSED_ID = "a" * 32, "b" * 32, "c" * 32
EARLIER = NOW - timedelta(weeks=3)
EARLIER_ID, RECENT_ID = f"i{EARLIER:%Y%m%d}-{'d' * 24}", f"i{NOW:%Y%m%d}-{'e' * 24}"
SETTLED = {"settled_at": NOW - timedelta(days=20), "state": "confirmed", "reserved_usdc": usdc(4)}
JUDGED_AT = {
    OLD_ID: NOW - timedelta(days=30),
    EARLIER_ID: EARLIER,
    OPEN_ID: NOW - timedelta(days=2, hours=1),
    REFUSED_ID: NOW - timedelta(hours=1),
    RECENT_ID: NOW - timedelta(minutes=5),
}
SCOPES = [f"follower:{PROXY}", GLOBAL]


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of a database of the previous release, with copies of a token that is held, and
    one of another token.
    """
    engine = open_engine(patient_settings(database_url))
    async with engine.begin() as connection:
        await connection.execute(text("create schema control"))
        await connection.run_sync(upgrade_to_previous)
        title = 'a "verdict": \x00'
        await insert(connection, approved(an_intent(intent_id=OLD_ID, title=title)), **SETTLED)
        await insert(connection, approved(an_intent(intent_id=EARLIER_ID)), **SETTLED)
        await insert(
            connection, approved(an_intent(intent_id=OPEN_ID)), cap_scopes=SCOPES, traceparent="t"
        )
        sale = an_intent(intent_id=REFUSED_ID, side=Side.SELL)
        await insert(connection, refused(sale, reason=Refusal.NO_MARKET))
        recent = approved(an_intent(intent_id=RECENT_ID, token_id="7"))
        await insert(connection, recent, **SETTLED | {"settled_at": utc_now()})
        for token, amount in ((TOKEN, 5_000_000), ("7", 0)):
            await insert_row(
                connection,
                "preflight.positions",
                follow_id=sale.follow_id,
                token_id=token,
                proxy=PROXY,
                shares=amount,
            )
    yield engine
    await engine.dispose()


def upgrade_to_previous(connection: Connection) -> None:
    command.upgrade(config(connection), PREVIOUS)


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


async def insert(
    connection: AsyncConnection, verdict: IntentApproved | IntentRefused, **changes: Any
) -> None:
    intent, judged_at = verdict.intent, JUDGED_AT[verdict.intent_id]
    is_refused = isinstance(verdict, IntentRefused)
    row = {
        "intent_id": verdict.intent_id,
        "proxy": intent.proxy,
        "token_id": intent.token_id,
        "follow_id": intent.follow_id,
        "side": intent.side.value,
        "exit_id": intent.intent_id if intent.side is Side.SELL else "",
        "state": "refused" if is_refused else "approved",
        "reason": verdict.reason.value if isinstance(verdict, IntentRefused) else "",
        "reserved_usdc": 0 if is_refused else usdc(5),
        "reserved_shares": 0,
        "cap_usdc": 0 if is_refused else usdc(5),
        "verdict": verdict.model_dump_json(),
        "judged_at": judged_at,
        "settled_at": judged_at if is_refused else None,
    }
    await insert_row(connection, "preflight.intents", **row | changes)


async def fetch(engine: AsyncEngine, statement: str) -> list[Any]:
    await engine.dispose()  # what is prepared on its connections is of other tables
    async with transaction(engine) as connection:
        return list(await fetch_rows(connection, statement))


async def load_partitions(engine: AsyncEngine, table: str) -> dict[str, str]:
    statement = f"select intent_id, tableoid::regclass::text as name from preflight.{table}"
    return {
        row.intent_id: row.name.removeprefix(f"preflight.{table}_")
        for row in await fetch(engine, statement)
    }


async def test_every_intent_and_its_verdict_are_in_the_partition_of_its_day(
    engine: AsyncEngine,
) -> None:
    before = {row.intent_id: row for row in await fetch(engine, "select * from preflight.intents")}

    await migrate(engine)
    await engine.dispose()  # its connections know the statements of the earlier table

    assert await find_differences(engine) == ""
    weeks = [f"{find_week(day.date()).first_day:%Y%m%d}" for day in (EARLIER, NOW)]
    expected = dict.fromkeys((OLD_ID, OPEN_ID, REFUSED_ID), "before") | dict(
        zip((EARLIER_ID, RECENT_ID), weeks, strict=True)
    )
    for table in ("intents", "verdicts"):
        assert await load_partitions(engine, table) == expected
        for row in await fetch(engine, f"select * from preflight.{table}"):
            old = before[row.intent_id]._mapping
            assert {name: old[name] for name in row._mapping} == dict(row._mapping)


async def test_what_is_open_or_was_settled_lately_is_reserved(engine: AsyncEngine) -> None:
    await migrate(engine)

    rows = await fetch(engine, "select * from preflight.reservations order by intent_id")
    assert [(row.intent_id, row.cap_scopes, row.reserved_usdc) for row in rows] == [
        (OPEN_ID, SCOPES, usdc(5)),
        (RECENT_ID, None, usdc(4)),
    ]
    verdicts = PostgresVerdicts(engine)
    loaded = await verdicts.load_commitments(
        an_intent(intent_id="f" * 32), limits=LIMITS, since=NOW - timedelta(minutes=6), now=NOW
    )
    assert loaded.usdc == usdc(9)


async def test_an_intent_of_before_is_settled(engine: AsyncEngine) -> None:
    await migrate(engine)

    report = an_outcome(intent_id=OPEN_ID, usdc=usdc(2), fee_usdc=1, shares=7)
    await PostgresVerdicts(engine).settle(report, now=NOW)

    (row,) = await fetch(engine, f"select * from preflight.intents where intent_id = '{OPEN_ID}'")
    assert (row.state, row.settled_at, row.filled_shares) == ("confirmed", NOW, 7)
    assert (row.reserved_usdc, row.cap_usdc) == (usdc(2) + 1, usdc(2))


async def test_the_newest_copies_are_known_of_what_is_held_and_of_the_last_days(
    engine: AsyncEngine,
) -> None:
    """The newest copy of the token that is held found no market: the position does not count."""
    await migrate(engine)

    rows = await fetch(engine, "select * from preflight.newest_copies order by token_id")
    assert [(row.token_id, row.judged_at, row.has_ended, row.traded_at) for row in rows] == [
        (TOKEN, JUDGED_AT[REFUSED_ID], True, JUDGED_AT[REFUSED_ID]),
        ("7", JUDGED_AT[RECENT_ID], False, JUDGED_AT[RECENT_ID]),
    ]
    report = an_outcome(intent_id=OPEN_ID)
    await PostgresVerdicts(engine).settle(report, now=NOW)
    loaded = await PostgresVerdicts(engine).load_commitments(
        an_intent(intent_id="f" * 32), limits=LIMITS, since=NOW, now=NOW
    )
    assert loaded.open_tokens == frozenset()


async def test_a_downgrade_restores_every_row(engine: AsyncEngine) -> None:
    before = await dump(engine)
    await migrate(engine)

    async with engine.begin() as connection:
        await connection.run_sync(downgrade_to_previous)

    assert await dump(engine) == before
    await migrate(engine)
    assert await find_differences(engine) == ""


async def dump(engine: AsyncEngine) -> list[dict[str, Any]]:
    rows = await fetch(engine, "select * from preflight.intents order by intent_id")
    assert all(json.loads(row.verdict) for row in rows)
    return [dict(row._mapping) for row in rows]
