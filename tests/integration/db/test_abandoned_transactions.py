"""Whoever stands still in a transaction holds nobody up for longer than the database allows."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient

pytestmark = pytest.mark.integration

LOCKED = "select * from control.leases for update"


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    settings = DatabaseSettings.model_validate(
        {"url": migrated_database_url, "idle_in_transaction_timeout": timedelta(milliseconds=300)}
    )
    engine = open_engine(settings)
    yield engine
    await engine.dispose()


async def test_what_a_process_that_stands_still_has_locked_is_free_again_and_its_transaction_must_be_repeated(
    engine: AsyncEngine,
) -> None:
    taken = "insert into control.leases values ('executor', 3, 1, 'a', clock_timestamp()) returning partition"
    async with autocommit(engine) as connection:
        await fetch_rows(connection, taken)

    async def stand_still() -> None:
        async with transaction(engine) as standing_still:
            await fetch_rows(standing_still, LOCKED)
            async with autocommit(engine) as another:  # waits until the lock is given up
                assert [row.partition for row in await fetch_rows(another, LOCKED)] == [3]
            await fetch_rows(standing_still, LOCKED)

    with pytest.raises(Transient):
        await stand_still()

    async with autocommit(engine) as connection:
        assert len(await fetch_rows(connection, LOCKED)) == 1
