"""What was reserved by UTC day counts in the windows of any 24 hours, by its hour."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.clock import utc_now
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from shared.domain.follows import GLOBAL
from tests.builders import PROXY, TOKEN, an_intent, an_outcome, approved, usdc
from tests.integration.db.rows import insert_row
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

PREVIOUS = "0010"
NOW = utc_now()
OLD = NOW - timedelta(hours=70)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of a database of the previous release, with three entries of a follow."""
    engine = open_engine(patient_settings(database_url))
    async with engine.begin() as connection:
        await connection.execute(text("create schema control"))
        await connection.run_sync(upgrade_to_previous)
        await insert_entry(connection, "a", NOW, cap_scopes=None)
        await insert_entry(connection, "b", NOW - timedelta(hours=20), cap_scopes=[GLOBAL])
        await insert_entry(connection, "c", OLD, cap_scopes=None)
    yield engine
    await engine.dispose()


def upgrade_to_previous(connection: Connection) -> None:
    command.upgrade(config(connection), PREVIOUS)


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


async def insert_entry(
    connection: AsyncConnection, name: str, judged_at: datetime, **row: Any
) -> None:
    intent = an_intent(intent_id=name * 32)
    await insert_row(
        connection,
        "preflight.intents",
        intent_id=intent.intent_id,
        proxy=PROXY,
        token_id=TOKEN,
        follow_id=intent.follow_id,
        side="BUY",
        state="approved",
        reserved_usdc=usdc(5),
        reserved_shares=0,
        cap_usdc=usdc(5),
        day=judged_at.date(),
        verdict=approved(intent).model_dump_json(),
        judged_at=judged_at,
        **row,
    )


async def load_spent(engine: AsyncEngine) -> dict[str, int]:
    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select scope, sum(spent.value::bigint)::bigint as usdc "
            "from preflight.spending_windows, jsonb_each_text(usdc_by_hour) as spent "
            "group by scope",
        )
    return {row.scope: row.usdc for row in rows}


async def test_what_the_last_two_days_reserved_counts_in_its_scopes(engine: AsyncEngine) -> None:
    await migrate(engine)

    assert await find_differences(engine) == ""
    assert await load_spent(engine) == {
        "follow:follow-1": usdc(5),
        f"follower:{PROXY}": usdc(5),
        GLOBAL: usdc(5),
    }


async def test_what_was_reserved_before_is_released_in_its_hour_or_not_at_all(
    engine: AsyncEngine,
) -> None:
    await migrate(engine)

    for name in "abc":
        report = an_outcome(intent_id=name * 32, usdc=usdc(2), fee_usdc=0)
        await PostgresVerdicts(engine).settle(report, now=NOW)

    assert await load_spent(engine) == {
        "follow:follow-1": usdc(2),
        f"follower:{PROXY}": usdc(2),
        GLOBAL: usdc(2),
    }


async def test_a_downgrade_counts_by_utc_day_again(engine: AsyncEngine) -> None:
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.run_sync(downgrade_to_previous)

    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection, "select day, spent_usdc from preflight.spending where scope = 'global'"
        )
    assert [tuple(row) for row in rows] == [((NOW - timedelta(hours=20)).date(), usdc(5))]
