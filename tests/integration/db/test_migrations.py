"""The migrations make the tables that the code has, once, however often and by how many they are
run.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import find_differences, migrate, require_migrated
from shared.db.settings import DatabaseSettings
from shared.domain.errors import InvalidSettings, Transient

pytestmark = pytest.mark.integration


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Of an empty database."""
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url}))
    yield engine
    await engine.dispose()


async def test_the_migrations_make_the_tables_that_the_code_has(engine: AsyncEngine) -> None:
    await migrate(engine)

    assert await find_differences(engine) == ""
    await require_migrated(engine)


async def test_migrating_again_changes_nothing(engine: AsyncEngine) -> None:
    await migrate(engine)
    await migrate(engine)

    assert await find_differences(engine) == ""


async def test_two_that_migrate_at_once_wait_for_one_another(engine: AsyncEngine) -> None:
    await asyncio.gather(*(migrate(engine) for _ in range(3)))

    assert await find_differences(engine) == ""


async def test_a_machine_that_is_slow_between_two_statements_migrates_all_the_same(
    database_url: str,
) -> None:
    idle_in_transaction_timeout = timedelta(milliseconds=200)
    impatient = open_engine(
        DatabaseSettings.model_validate(
            {"url": database_url, "idle_in_transaction_timeout": idle_in_transaction_timeout}
        )
    )
    stood_still: list[bool] = []

    @event.listens_for(impatient.sync_engine, "before_cursor_execute")
    def stand_still(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("CREATE INDEX") and not stood_still:
            stood_still.append(
                threading.Event().wait(2 * idle_in_transaction_timeout.total_seconds())
            )

    await migrate(impatient)

    assert stood_still
    assert await find_differences(impatient) == ""
    await impatient.dispose()


async def test_a_service_does_not_start_on_a_database_of_another_shape(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidSettings, match="slipstream db migrate"):
        await require_migrated(engine)

    await migrate(engine)
    async with transaction(engine) as connection:
        await connection.execute(text("alter table executor.orders drop column body"))

    with pytest.raises(InvalidSettings, match="slipstream db migrate"):
        await require_migrated(engine)


async def test_a_database_that_cannot_be_reached_is_named_by_its_variable() -> None:
    away = open_engine(
        DatabaseSettings.model_validate({"url": "postgresql://nobody:hunter2@127.0.0.1:1/none"})
    )

    with pytest.raises(InvalidSettings, match="DATABASE_URL") as refused:
        await require_migrated(away)

    assert "hunter2" not in str(refused.value)
    await away.dispose()


async def test_a_database_that_is_away_may_work_later_and_a_row_that_cannot_be_never_will(
    engine: AsyncEngine,
) -> None:
    away = open_engine(
        DatabaseSettings.model_validate({"url": "postgresql://nobody@127.0.0.1:1/none"})
    )
    with pytest.raises(Transient):
        async with transaction(away):
            pass
    await away.dispose()

    await migrate(engine)
    twice = "insert into ingest.cursors (feed, block_number) values ('chain', 1), ('chain', 2) returning 1"
    with pytest.raises(IntegrityError):
        async with transaction(engine) as connection:
            await fetch_rows(connection, twice)


async def test_a_connection_that_was_cut_off_is_tried_again_later(engine: AsyncEngine) -> None:
    async def cut_off() -> None:
        async with transaction(engine) as connection:
            await fetch_rows(connection, "select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Transient):
        await cut_off()

    async with transaction(engine) as connection:
        assert (await fetch_rows(connection, "select 1 as one"))[0].one == 1
