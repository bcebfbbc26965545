"""A single statement is committed at once, and its connection can run transactions afterwards."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import (
    Connection,
    autocommit,
    engine_scope,
    fetch_rows,
    open_engine,
    transaction,
)
from shared.db.settings import DatabaseSettings
from tests.leases import executor_leases
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

Begin = Callable[[AsyncEngine], AbstractAsyncContextManager[Connection]]


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


@pytest.mark.parametrize("begin", [transaction, autocommit])
async def test_a_statement_returns_its_rows_with_their_columns_as_attributes(
    engine: AsyncEngine, begin: Begin
) -> None:
    insert = "insert into numbers select unnest(cast(:numbers as integer[]))"
    async with begin(engine) as connection:
        assert list(await fetch_rows(connection, insert, numbers=[1, 2])) == []
        rows = await fetch_rows(
            connection,
            "select number, :name::text || ':name' as name, cast(:name as text) as \"a b\", "
            "json_build_object('n', number) as document from numbers order by number",
            name="x",
        )

    assert [(row.number, row.name, row.document) for row in rows] == [
        (1, "x:name", {"n": 1}),
        (2, "x:name", {"n": 2}),
    ]
    assert tuple(rows[0]) == (1, "x:name", "x", {"n": 1})
    for _ in range(2):
        with pytest.raises(AttributeError, match="nothing"):
            rows[0].nothing  # noqa: B018


async def test_a_column_that_one_row_has_is_no_column_of_another(engine: AsyncEngine) -> None:
    async with autocommit(engine) as connection:
        (first,) = await fetch_rows(connection, "select 1 as one_alone, 2 as both")
        (second,) = await fetch_rows(connection, "select 3 as both")

    assert (first.one_alone, first.both, second.both) == (1, 2, 3)
    with pytest.raises(KeyError, match="one_alone"):
        second.one_alone  # noqa: B018


async def test_both_kinds_of_connection_share_the_one_limit(engine: AsyncEngine) -> None:
    """Otherwise a process has twice as many connections as DATABASE_CONNECTIONS says."""
    count = "select count(*) as open from pg_stat_activity where datname = current_database()"
    for begin in (transaction, autocommit, transaction, autocommit):
        async with begin(engine) as connection:
            (row,) = await fetch_rows(connection, count)
            assert row.open == 1


async def test_leases_are_renewed_while_work_has_every_connection(
    migrated_database_url: str,
) -> None:
    settings = patient_settings(migrated_database_url).model_copy(update={"connections": 1})
    async with (
        engine_scope(settings) as engine,
        engine_scope(settings.for_upkeep) as upkeep,
        transaction(engine) as work,
    ):
        await fetch_rows(work, "select 1")
        leases = await executor_leases(upkeep)
        await leases.refresh()

        assert leases.is_ready


async def test_a_statement_is_prepared_once_for_each_connection(engine: AsyncEngine) -> None:
    prepared = "select statement from pg_prepared_statements where statement like '%unique text%'"
    for number in range(3):
        async with autocommit(engine) as connection:
            statement = "select cast(:number as integer) as number, 'unique text' as a"
            (row,) = await fetch_rows(connection, statement, number=number)
            assert row.number == number

    async with autocommit(engine) as connection:
        found = [
            row.statement
            for row in await fetch_rows(connection, prepared)
            if "pg_prepared" not in row.statement
        ]
    assert found == ["select cast($1 as integer) as number, 'unique text' as a"]


async def test_a_cancelled_statement_gives_its_connection_back(engine: AsyncEngine) -> None:
    async def sleep() -> None:
        async with autocommit(engine) as connection:
            await fetch_rows(connection, "select pg_sleep(4)")

    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await sleep()

    assert await load_numbers(engine) == []


async def test_an_error_rolls_back_a_transaction_and_not_a_single_statement(
    engine: AsyncEngine,
) -> None:
    for number, single in enumerate((True, False, True, False)):
        with pytest.raises(Broken):
            await insert_and_fail(engine, number, single=single)

    assert await load_numbers(engine) == [0, 2]
