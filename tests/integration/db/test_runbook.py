"""The SQL that the runbook gives an operator runs on this release's tables and does as it says."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters import PostgresTrades
from services.ingest.handler import Handler
from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.clock import utc_now
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.domain.money import MIN_REMAINDER_SHARES
from tests.builders import (
    PROXY,
    TOKEN,
    a_fill,
    a_follow,
    an_outcome,
    approved,
    controls,
    seconds,
    shares,
)
from tests.fakes import FakeComplements, FakeHoldings, FixedControls
from tests.integration.db.rows import insert_row
from tests.patience import patient_settings
from tests.reservations import WRONG_RESERVATION_SUMS

pytestmark = pytest.mark.integration

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
HEADING = "### A follower has too many positions"
RELEASE_HEADING = "### A reservation is never released"

SPENT = """
select spent.value::bigint as usdc
from preflight.spending_windows, jsonb_each_text(usdc_by_hour) as spent
"""


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


def read_statements(heading: str) -> list[str]:
    section = RUNBOOK.read_text().split(heading, 1)[1].split("\n### ", 1)[0]
    return re.findall(r"```sql\n(.*?);\n```", section, flags=re.DOTALL)


async def test_after_kafka_lost_its_data_a_row_that_comes_again_makes_its_intents_once_more(
    engine: AsyncEngine,
) -> None:
    (released,) = read_statements("### Backup and restore")
    handler = Handler(
        trades=PostgresTrades(engine),
        holdings=FakeHoldings(),
        complements=FakeComplements(),
        controls=FixedControls(controls(a_follow())),
        now=utc_now,
    )
    first = a_fill(filled_at=utc_now(), occurred_at=utc_now())
    again = first.model_copy(update={"occurred_at": first.occurred_at + seconds(1)})
    assert len(await handler.on_leader_fill_seen(first)) == 1
    assert await handler.on_leader_fill_seen(again) == []

    async with transaction(engine) as connection:
        await connection.execute(text(released))

    assert len(await handler.on_leader_fill_seen(again)) == 1


async def test_the_positions_that_count_are_listed_and_one_is_written_off(
    engine: AsyncEngine,
) -> None:
    listed, written_off = read_statements(HEADING)
    async with transaction(engine) as connection:
        for follow, amount in (("f-1", shares(5)), ("f-2", MIN_REMAINDER_SHARES - 1)):
            await insert_row(
                connection,
                "preflight.positions",
                follow_id=follow,
                token_id=TOKEN,
                proxy=PROXY,
                shares=amount,
            )
        before = await fetch_rows(connection, listed.replace("0xPROXY", PROXY))
        await connection.execute(
            text(written_off.replace("'FOLLOW'", "'f-1'").replace("'TOKEN'", f"'{TOKEN}'"))
        )
        after = await fetch_rows(connection, listed.replace("0xPROXY", PROXY))

    assert [(row.follow_id, row.token_id, row.shares) for row in before] == [
        ("f-1", TOKEN, shares(5))
    ]
    assert after == []


async def test_a_reservation_is_released_by_hand(engine: AsyncEngine) -> None:
    verdicts = PostgresVerdicts(engine)
    await verdicts.record(approved(occurred_at=utc_now() - timedelta(hours=2)))
    listed, release = read_statements(RELEASE_HEADING)
    async with transaction(engine) as connection:
        (row,) = await fetch_rows(connection, listed)
        await connection.execute(text(release.replace("'...'", f"'{row.intent_id}'")))
        spent = await fetch_rows(connection, SPENT)
        intents = await fetch_rows(connection, "select * from preflight.intents")
        assert await fetch_rows(connection, WRONG_RESERVATION_SUMS) == []
        assert await fetch_rows(connection, listed) == []

    assert {each.usdc for each in spent} == {0}
    assert [(each.state, each.reserved_usdc) for each in intents] == [("withdrawn", 0)]
    await verdicts.settle(an_outcome(intent_id=row.intent_id), now=utc_now())
    async with transaction(engine) as connection:
        assert await fetch_rows(connection, "select * from preflight.positions") == []
