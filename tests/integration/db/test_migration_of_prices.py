"""The older release can read the leaders' rows that slices keep."""

from collections.abc import AsyncIterator

import pytest
from alembic import command
from sqlalchemy import Connection, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import config, find_differences, migrate
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from tests.builders import NOON, a_fill
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

PREVIOUS = "0017"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of an empty database."""
    engine = open_engine(patient_settings(database_url))
    yield engine
    await engine.dispose()


def downgrade_to_previous(connection: Connection) -> None:
    command.downgrade(config(connection), PREVIOUS)


@pytest.mark.parametrize("price", ["0.41", "0.000001", None])
async def test_a_downgrade_takes_the_prices_out_of_the_rows_that_slices_keep(
    engine: AsyncEngine, price: str | None
) -> None:
    fill = a_fill(
        source=FillSource.CHAIN,
        title='Is "lowest_price":"0.1", a field, or "highest_price":null,?',
        lowest_price=price,
        highest_price=price,
    )
    await migrate(engine)
    await insert_slices(engine, [fill.model_dump_json(), None, ""])

    async with engine.begin() as connection:
        await connection.run_sync(downgrade_to_previous)

    async with transaction(engine) as connection:
        stored = await fetch_rows(
            connection, "select fill from ingest.copy_slices order by sequence"
        )
    assert "lowest_price" not in str(stored[0].fill).replace('\\"lowest_price\\"', "")
    assert "highest_price" not in str(stored[0].fill).replace('\\"highest_price\\"', "")
    assert LeaderFillSeen.model_validate_json(stored[0].fill) == fill.model_copy(
        update={"lowest_price": None, "highest_price": None}
    )
    assert [row.fill for row in stored[1:]] == [None, ""]
    await migrate(engine)
    assert await find_differences(engine) == ""


async def insert_slices(engine: AsyncEngine, fills: list[str | None]) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            insert(tables.copy_slices),
            [
                {
                    "trade_id": "trade",
                    "from_shares": number,
                    "to_shares": number + 1,
                    "source": "chain",
                    "row_id": "row",
                    "controls_version": 7,
                    "intended_at": NOON,
                    "resent_of": "other",
                    "fill": fill,
                    "sequence": number,
                }
                for number, fill in enumerate(fills)
            ],
        )
