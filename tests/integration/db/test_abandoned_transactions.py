"""A process that is paused within a transaction blocks others no longer than the timeout."""

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


async def test_locks_of_an_idle_transaction_are_released_and_the_transaction_must_be_retried(
    engine: AsyncEngine,
) -> None:
    insert = (
        "insert into control.leases values ('executor', 3, 1, 'a', clock_timestamp()) "
        "returning partition"
    )
    async with autocommit(engine) as connection:
        await fetch_rows(connection, insert)

    async def stay_idle() -> None:
        async with transaction(engine) as idle:
            await fetch_rows(idle, LOCKED)
            async with autocommit(engine) as another:  # waits until the lock is released
                assert [row.partition for row in await fetch_rows(another, LOCKED)] == [3]
            await fetch_rows(idle, LOCKED)

    with pytest.raises(Transient):
        await stay_idle()

    async with autocommit(engine) as connection:
        assert len(await fetch_rows(connection, LOCKED)) == 1
