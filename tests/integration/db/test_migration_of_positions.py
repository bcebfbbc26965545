"""What follows hold and have spent is computed from the rows of the previous release."""

from collections.abc import AsyncIterator

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.clock import utc_now
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from shared.domain.money import Side
from tests.builders import (
    LEADER,
    NOON,
    PROXY,
    TOKEN,
    an_intent,
    approved,
    refused,
    seconds,
    shares,
    usdc,
)
from tests.integration.db.rows import insert_row
from tests.patience import patient_settings
from tests.unit.preflight.test_decisions import LIMITS

pytestmark = pytest.mark.integration

PREVIOUS = "0008"
NOW = utc_now()
"""What was spent long ago counts against no cap."""
COPIES = (
    ("a", "follow-1", Side.BUY, "confirmed", shares(10)),
    ("b", "follow-1", Side.SELL, "confirmed", shares(4)),
    ("c", "follow-2", Side.BUY, "confirmed", shares(7)),
    ("d", "follow-2", Side.BUY, "killed", 0),
    ("e", "follow-1", Side.BUY, "matched", shares(3)),
)
"""Intent, follow, side, state of its order, and what that filled. The last one is not settled."""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of a database of the previous release, with the copies."""
    engine = open_engine(patient_settings(database_url))
    async with engine.begin() as connection:
        await connection.execute(text("create schema control"))
        await connection.run_sync(upgrade_to_previous)
        for name, follow, side, state, filled in COPIES:
            await insert_copy(connection, name, follow, side, state, filled)
        await insert_row(
            connection,
            "preflight.spending",
            proxy=PROXY,
            day=NOW.date(),
            spent_usdc=4 * usdc(5),
        )
    yield engine
    await engine.dispose()


def upgrade_to_previous(connection: Connection) -> None:
    command.upgrade(config(connection), PREVIOUS)


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


async def insert_copy(
    connection: AsyncConnection, name: str, follow: str, side: Side, state: str, filled: int
) -> None:
    # A title may contain what a text search for a field would find.
    intent = an_intent(
        intent_id=name * 32, follow_id=follow, side=side, title='"follow_id":"no" "side":"no" \x00'
    )
    is_open = state == "matched"
    await insert_row(
        connection,
        "preflight.intents",
        intent_id=intent.intent_id,
        proxy=PROXY,
        token_id=TOKEN,
        state="approved" if is_open else state,
        reserved_usdc=0,
        reserved_shares=0,
        cap_usdc=usdc(5) if side is Side.BUY else 0,
        day=NOW.date(),
        verdict=approved(intent).model_dump_json(),
        judged_at=NOW,
        settled_at=None if is_open else NOON,
    )
    await insert_row(
        connection,
        "executor.orders",
        intent_id=intent.intent_id,
        proxy=PROXY,
        order_hash=name,
        body="{}",
        side=side.value,
        token_id=TOKEN,
        leader=LEADER,
        leader_price=intent.leader_price,
        limit_price=intent.leader_price,
        fee_rate=0,
        state=state,
        shares=filled,
        expires_at=NOON,
        seen_at=NOON,
        intended_at=NOON,
        quoted_at=NOON,
        approved_at=NOON,
        signed_at=NOON,
    )


async def test_positions_are_what_confirmed_copies_bought_and_did_not_sell(
    engine: AsyncEngine,
) -> None:
    await migrate(engine)
    verdicts = PostgresVerdicts(engine)

    first = await verdicts.load_position(an_intent(intent_id="f" * 32, side=Side.SELL))
    second = await verdicts.load_position(
        an_intent(intent_id="f" * 32, side=Side.SELL, follow_id="follow-2")
    )

    assert await find_differences(engine) == ""
    assert (first.held_shares, first.open_entries) == (shares(6), ("e" * 32,))
    assert (second.held_shares, second.held_by_all_follows) == (shares(7), shares(13))


async def test_what_was_spent_counts_for_the_follower_and_for_each_follow(
    engine: AsyncEngine,
) -> None:
    await migrate(engine)

    spent = await PostgresVerdicts(engine).load_commitments(
        an_intent(intent_id="f" * 32), limits=LIMITS, since=NOW + seconds(1), now=NOW
    )

    assert (spent.spent_today, spent.follower_spent_today) == (2 * usdc(5), 4 * usdc(5))


async def test_a_verdict_of_the_previous_release_is_repeated(engine: AsyncEngine) -> None:
    await migrate(engine)

    recorded = await PostgresVerdicts(engine).record(refused(an_intent(intent_id="a" * 32)))

    assert recorded == approved(recorded.intent)
    assert recorded.intent.follow_id == "follow-1"


async def test_a_downgrade_keeps_what_was_spent(engine: AsyncEngine) -> None:
    await migrate(engine)
    async with engine.begin() as connection:
        await connection.run_sync(downgrade_to_previous)

    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, "select proxy, spent_usdc from preflight.spending")
    assert [tuple(row) for row in rows] == [(PROXY, 4 * usdc(5))]
