"""A reservation from before the scopes of its caps were kept is released all the same."""

import pytest
from sqlalchemy import text

from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.db.engine import fetch_rows, open_engine, transaction
from tests.builders import NOON, PROXY, an_intent, an_outcome, approved, usdc
from tests.patience import patient_settings

pytestmark = pytest.mark.integration


async def test_it_counted_against_its_follow_and_its_follower(migrated_database_url: str) -> None:
    engine = open_engine(patient_settings(migrated_database_url))
    verdicts = PostgresVerdicts(engine)
    intent = an_intent(follow_id="follow-1")
    await verdicts.record(approved(intent))
    async with transaction(engine) as connection:
        await connection.execute(text("update preflight.reservations set cap_scopes = null"))

    report = an_outcome(intent_id=intent.intent_id, usdc=usdc(2), fee_usdc=0)
    await verdicts.settle(report, now=NOON)

    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select scope, spent.value::bigint as usdc from preflight.spending_windows, "
            "jsonb_each_text(usdc_by_hour) as spent",
        )
    assert {row.scope: row.usdc for row in rows} == {
        "follow:follow-1": usdc(2),
        f"follower:{PROXY}": usdc(2),
    }
    await engine.dispose()
