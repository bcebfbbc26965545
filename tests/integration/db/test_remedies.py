"""What a failover, a pooler or an operator does to a connection, on a real PostgreSQL: it is
transient, and the next statement has a connection that works.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db.engine import autocommit, fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient
from tests.integration.db.faulty import engine_behind, server_port, until_it_works
from tests.system.faulty_relay import FaultyRelay

pytestmark = pytest.mark.integration

Begin = Callable[[AsyncEngine], Awaitable[AsyncConnection]]
PID = "select pg_backend_pid() as pid"
TWO_SHORT_LIMITS = {
    "pool_timeout": timedelta(seconds=1),
    "lock_timeout": timedelta(seconds=2),
    "answer_timeout": timedelta(seconds=60),
}
INSERT = "insert into numbers values (:number) on conflict do nothing returning number"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine with two connections."""
    settings = {"url": database_url, "connections": 2} | TWO_SHORT_LIMITS
    engine = open_engine(DatabaseSettings.model_validate(settings))
    async with transaction(engine) as connection:
        await connection.exec_driver_sql("create table numbers (number integer primary key)")
    yield engine
    await engine.dispose()


@pytest.fixture
async def operator(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Another program's connections."""
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url}))
    yield engine
    await engine.dispose()


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with autocommit(engine) as connection:
        await fetch_rows(connection, statement)


async def fetch_pid(engine: AsyncEngine) -> int:
    async with autocommit(engine) as connection:
        pid: int = (await fetch_rows(connection, PID))[0].pid
    return pid


async def insert(engine: AsyncEngine, number: int = 1) -> None:
    async with autocommit(engine) as connection:
        await fetch_rows(connection, INSERT, number=number)


async def test_after_a_failover_the_read_only_connections_are_replaced(
    engine: AsyncEngine, operator: AsyncEngine, database_url: str
) -> None:
    """As connections that lead to what is a standby now."""
    database = database_url.rpartition("/")[2]
    await execute(operator, f"alter database {database} set default_transaction_read_only = on")
    await engine.dispose()
    await asyncio.gather(*(execute(engine, "select pg_sleep(0.1)") for _ in range(2)))
    with pytest.raises(Transient, match=r"ReadOnlySQLTransactionError \(25006\)"):
        await insert(engine)

    async with transaction(operator) as connection:
        await connection.exec_driver_sql("set transaction read write")
        await connection.exec_driver_sql(
            f"alter database {database} reset default_transaction_read_only"
        )

    for number in range(3):
        await insert(engine, number)


async def test_of_several_hosts_none_is_used_that_accepts_no_writes(
    operator: AsyncEngine, database_url: str
) -> None:
    port, database = server_port(database_url), database_url.rpartition("/")[2]
    await execute(operator, f"alter database {database} set default_transaction_read_only = on")
    async with (
        FaultyRelay(target_port=port) as first,
        FaultyRelay(target_port=port) as second,
        engine_behind(first, second, url=database_url) as engine,
    ):
        with pytest.raises(Transient, match="TargetServerAttributeNotMatched"):
            await fetch_pid(engine)

        async with transaction(operator) as connection:
            await connection.exec_driver_sql("set transaction read write")
            await connection.exec_driver_sql(
                f"alter database {database} reset default_transaction_read_only"
            )

        assert await until_it_works(lambda: fetch_pid(engine))


@pytest.mark.parametrize("begin", [transaction, autocommit])
@pytest.mark.parametrize(
    ("select", "change"),
    [
        ("select * from numbers", "alter table numbers add column note text"),
        ("select numbers from numbers", "alter table numbers add column note text"),
        ("select number from numbers", "alter table numbers alter number type bigint"),
    ],
    ids=["column", "row", "type"],
)
async def test_a_table_that_changes_under_a_prepared_statement_is_transient(
    engine: AsyncEngine, operator: AsyncEngine, begin: Begin, select: str, change: str
) -> None:
    async def load() -> int:
        async with begin(engine) as connection:  # type: ignore[attr-defined]
            return len(await fetch_rows(connection, select))

    async def load_until_it_works() -> int:
        for _ in range(4):  # two connections, each may know the old table
            try:
                return await load()
            except Transient:
                continue
        raise AssertionError("it never works")

    await insert(engine)
    await asyncio.gather(load(), load())
    await execute(operator, change)

    assert await load_until_it_works() == 1
    assert await load() == await load() == 1


@pytest.mark.parametrize("statement", ["discard all", "deallocate all"])
async def test_prepared_statements_that_a_pooler_discards_are_prepared_again(
    engine: AsyncEngine, statement: str
) -> None:
    async def discard_in_between() -> None:
        async with autocommit(engine) as connection:
            await fetch_rows(connection, PID)
            await fetch_rows(connection, statement)
            await fetch_rows(connection, PID)

    with pytest.raises(Transient, match="26000"):
        await discard_in_between()

    assert await fetch_pid(engine)
    assert await fetch_pid(engine)


async def test_a_connection_that_an_operator_ends_is_replaced(
    engine: AsyncEngine, operator: AsyncEngine
) -> None:
    async def end_in_between() -> None:
        async with autocommit(engine) as connection:
            pid = (await fetch_rows(connection, PID))[0].pid
            await execute(operator, f"select pg_terminate_backend({pid})")
            await fetch_rows(connection, PID)

    with pytest.raises(Transient):
        await end_in_between()

    assert await fetch_pid(engine)


async def test_a_statement_that_takes_too_long_ends_and_its_connection_is_kept(
    engine: AsyncEngine,
) -> None:
    async with autocommit(engine) as connection:
        pid = (await fetch_rows(connection, PID))[0].pid
    await engine.dispose()
    pids = {await fetch_pid(engine) for _ in range(4)}

    with pytest.raises(Transient, match=r"QueryCanceledError \(57014\)"):
        await execute(engine, "select pg_sleep(60)")

    assert {await fetch_pid(engine) for _ in range(4)} == pids
    assert pid not in pids


async def test_a_lock_that_is_not_had_in_time_is_transient(
    engine: AsyncEngine, operator: AsyncEngine
) -> None:
    async with transaction(operator) as holder:
        await holder.exec_driver_sql("lock table numbers")

        with pytest.raises(Transient, match=r"LockNotAvailableError \(55P03\)"):
            await insert(engine)

    await insert(engine)


async def test_a_statement_that_gets_no_connection_in_time_was_not_sent(
    engine: AsyncEngine,
) -> None:
    async with transaction(engine), transaction(engine):
        with pytest.raises(Transient, match="no connection to the database was free"):
            await insert(engine)

    await insert(engine)


async def test_a_database_without_a_free_connection_is_transient(
    database_url: str, operator: AsyncEngine
) -> None:
    name = database_url.rpartition("/")[2]
    await execute(operator, "create role visitor login")
    try:
        await execute(operator, f"alter database {name} connection limit 0")
        login = database_url.partition("://")[2].partition("@")[0]
        url = database_url.replace(f"{login}@", "visitor@")
        visitor = open_engine(DatabaseSettings.model_validate({"url": url}))
        with pytest.raises(Transient, match="53300"):
            await fetch_pid(visitor)
        await execute(operator, f"alter database {name} connection limit -1")

        assert await fetch_pid(visitor)

        await visitor.dispose()
    finally:
        await execute(operator, "drop role visitor")


@pytest.mark.parametrize(
    "statement",
    [
        "select nothing",
        "select * from nowhere",
        "select 1 / 0",
        "create table numbers (number integer)",
        "this is no SQL",
    ],
)
async def test_a_defect_of_ours_is_not_transient(engine: AsyncEngine, statement: str) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await execute(engine, statement)
