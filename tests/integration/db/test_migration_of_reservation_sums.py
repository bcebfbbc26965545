"""The sums of open reservations begin with what is open."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from tests.builders import NOON, PROXY, an_intent, an_outcome, usdc
from tests.integration.db.rows import insert_row
from tests.patience import patient_settings
from tests.reservations import WRONG_RESERVATION_SUMS

pytestmark = pytest.mark.integration

PREVIOUS = "0026"
OTHER_PROXY = "0x" + "9" * 40


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of a database of the previous release, with reservations."""
    engine = open_engine(patient_settings(migrated_database_url))
    async with engine.begin() as connection:
        await connection.run_sync(downgrade_to_previous)
        await reserve(connection, 1)
        await reserve(connection, 2)
        await reserve(connection, 3, settled_at=NOON + timedelta(seconds=2))
        await reserve(connection, 4, proxy=OTHER_PROXY, side="SELL", reserved_usdc=0)
    yield engine
    await engine.dispose()


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


def intent_id(number: int) -> str:
    return f"i{NOON:%Y%m%d}-{number:024x}"


async def reserve(connection: AsyncConnection, number: int, **fields: Any) -> None:
    intent = an_intent(intent_id=intent_id(number))
    values = {
        "intent_id": intent.intent_id,
        "proxy": PROXY,
        "follow_id": intent.follow_id,
        "token_id": intent.token_id,
        "side": "BUY",
        "reserved_usdc": usdc(5) + number,
        "reserved_shares": 0,
        "cap_usdc": 0,
        "judged_at": NOON,
    }
    await insert_row(connection, "preflight.reservations", **values | fields)


async def fetch(engine: AsyncEngine, statement: str) -> list[Any]:
    async with transaction(engine) as connection:
        return list(await fetch_rows(connection, statement))


async def test_what_is_open_is_summed_up(engine: AsyncEngine) -> None:
    await migrate(engine)

    assert await find_differences(engine) == ""
    assert await fetch(engine, WRONG_RESERVATION_SUMS) == []
    (kept,) = await fetch(engine, "select * from preflight.reservation_sums")
    assert (kept.proxy, kept.open_usdc) == (PROXY, 2 * usdc(5) + 3)


async def test_what_was_reserved_before_is_taken_away_once_it_is_settled(
    engine: AsyncEngine,
) -> None:
    await migrate(engine)

    await PostgresVerdicts(engine).settle(an_outcome(intent_id=intent_id(1)), now=NOON)

    (kept,) = await fetch(engine, "select * from preflight.reservation_sums")
    assert kept.open_usdc == usdc(5) + 2
