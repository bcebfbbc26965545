"""What PostgreSQL refuses is not taken for a limit that another copy has used up."""

import asyncpg
import pytest

from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.handler import Recording
from shared.db.engine import open_engine, transaction
from tests.builders import approved
from tests.patience import patient_settings

pytestmark = pytest.mark.integration


async def test_a_violated_constraint_is_no_cap_and_is_not_judged_again(
    migrated_database_url: str,
) -> None:
    engine = open_engine(patient_settings(migrated_database_url))
    try:
        async with transaction(engine) as connection:
            await connection.exec_driver_sql(
                "alter table preflight.reservations add constraint never check (reserved_usdc < 0)"
            )
        verdicts = PostgresVerdicts(engine)

        with pytest.raises(asyncpg.CheckViolationError):
            await verdicts.record_all([Recording(verdict=approved())])
    finally:
        await engine.dispose()
