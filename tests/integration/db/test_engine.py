"""A single statement is committed at once, and its connection can run transactions afterwards."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings

pytestmark = pytest.mark.integration


class Broken(Exception):
    """An error of the caller."""


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine with one connection, so that all statements use the same."""
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url, "connections": 1}))
    async with transaction(engine) as connection:
        await connection.exec_driver_sql("create table numbers (number integer)")
    yield engine
    await engine.dispose()


async def load_numbers(engine: AsyncEngine) -> list[int]:
    async with autocommit(engine) as connection:
        return [
            row.number
            for row in await fetch_rows(connection, "select number from numbers order by number")
        ]


async def insert_and_fail(engine: AsyncEngine, number: int, *, single: bool) -> None:
    async with (autocommit if single else transaction)(engine) as connection:
        await fetch_rows(
            connection, "insert into numbers values (:number) returning number", number=number
        )
        raise Broken


async def test_an_error_rolls_back_a_transaction_and_not_a_single_statement(
    engine: AsyncEngine,
) -> None:
    for number, single in enumerate((True, False, True, False)):
        with pytest.raises(Broken):
            await insert_and_fail(engine, number, single=single)

    assert await load_numbers(engine) == [0, 2]
