"""A single statement is kept at once, and a connection that served one serves transactions again."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings

pytestmark = pytest.mark.integration


class Broken(Exception):
    """Something of the caller's own."""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """With one connection, so that all use the same."""
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url, "connections": 1}))
    async with transaction(engine) as connection:
        await connection.exec_driver_sql("create table kept (number integer)")
    yield engine
    await engine.dispose()


async def kept(engine: AsyncEngine) -> list[int]:
    async with autocommit(engine) as connection:
        return [
            row.number
            for row in await fetch_rows(connection, "select number from kept order by number")
        ]


async def keep_and_fail(engine: AsyncEngine, number: int, *, alone: bool) -> None:
    async with (autocommit if alone else transaction)(engine) as connection:
        await fetch_rows(
            connection, "insert into kept values (:number) returning number", number=number
        )
        raise Broken


async def test_what_fails_after_a_single_statement_takes_nothing_back_and_in_a_transaction_everything(
    engine: AsyncEngine,
) -> None:
    for number, alone in enumerate((True, False, True, False)):
        with pytest.raises(Broken):
            await keep_and_fail(engine, number, alone=alone)

    assert await kept(engine) == [0, 2]
