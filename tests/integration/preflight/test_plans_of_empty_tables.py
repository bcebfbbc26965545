"""Statistics that were taken while nothing was open make no statement read a whole table, or rows
once for each row of another: plans are prepared once, and stay.
"""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.settling import settle
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.handler import CommitmentsQuery, Recording
from shared.db.engine import autocommit, open_engine, transaction
from shared.messages.intents import VerdictFacts
from tests.builders import NOON, an_intent, an_outcome, approved, facts, shares, usdc
from tests.integration.db.plans import Plan, recorded_plans
from tests.patience import patient_settings
from tests.unit.preflight.test_handler import LIMITS

pytestmark = pytest.mark.integration

OPEN, FOLLOWERS = 3000, 1000
BATCH = 500
EMPTIED = (
    "delayed_entries",
    "exits",
    "intents",
    "newest_copies",
    "positions",
    "reservation_sums",
    "reservations",
    "spending_windows",
    "verdicts",
)
AT_ONCE = facts()
IN_STEPS = facts(max_open_positions=1000, max_entries_per_minute=1000)
ROWS_PER_COPY = 10
"""Of one scan: the open reservations of its follower, its scopes."""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


def build(first: int, count: int, counted: VerdictFacts = AT_ONCE) -> list[Recording]:
    return [
        Recording(
            verdict=approved(
                an_intent(
                    intent_id=f"i{NOON:%Y%m%d}-{number:024x}",
                    proxy=f"0x{number % FOLLOWERS:040x}",
                    follow_id=f"follow-{number % FOLLOWERS}",
                    token_id=f"{number % 50}",
                ),
                facts=counted,
            )
        )
        for number in range(first, first + count)
    ]


async def record_open_copies(verdicts: PostgresVerdicts) -> None:
    for first in range(0, OPEN, BATCH):
        await verdicts.record_all(build(first, BATCH))


async def copy(engine: AsyncEngine, verdicts: PostgresVerdicts, batch: int) -> None:
    new = build(OPEN, batch)
    await verdicts.load_all_commitments(
        [
            CommitmentsQuery(intent=each.verdict.intent, limits=LIMITS, since=NOON, now=NOON)
            for each in new
        ]
    )
    await verdicts.load_positions([each.verdict.intent for each in new])
    await verdicts.record_all(new)
    await verdicts.record_all(build(2 * OPEN, batch, IN_STEPS))
    outcomes = [
        an_outcome(intent_id=each.verdict.intent_id, usdc=usdc(4), shares=shares(3))
        for each in build(0, batch)
    ]
    async with autocommit(engine) as connection:
        await settle(connection, [(outcome, None, NOON) for outcome in outcomes])


def most_rows(plan: Plan, batch: int) -> str:
    """The scans that read more than the batch needs; empty: none does."""
    return "\n".join(
        str(scan) for scan in plan.scans if scan.rows > ROWS_PER_COPY * batch + ROWS_PER_COPY
    )


@pytest.mark.parametrize("batch", [1, BATCH])
async def test_a_batch_reads_what_it_names(engine: AsyncEngine, batch: int) -> None:
    verdicts = PostgresVerdicts(engine)
    await record_open_copies(verdicts)
    async with transaction(engine) as connection:
        for table in EMPTIED:
            await connection.execute(text(f"delete from preflight.{table}"))
    async with transaction(engine) as connection:
        await connection.execute(text("analyze"))
    await record_open_copies(verdicts)

    with recorded_plans(engine) as plans:
        await copy(engine, verdicts, batch)

    assert len(plans) >= 7
    for plan in plans:
        assert not most_rows(plan, batch), f"{most_rows(plan, batch)}\n{plan}"
