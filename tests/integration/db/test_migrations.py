"""The migrations create the tables that the code declares, also when run twice or concurrently."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.migrate import find_differences, migrate, require_migrated
from shared.db.partitions import create_partitions
from shared.db.settings import DatabaseSettings
from shared.domain.errors import InvalidSettings, Transient
from tests.patience import patient_settings

pytestmark = pytest.mark.integration


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The engine of an empty database."""
    engine = open_engine(patient_settings(database_url))
    yield engine
    await engine.dispose()


async def test_the_migrations_create_the_tables_that_the_code_declares(engine: AsyncEngine) -> None:
    await migrate(engine)

    assert await find_differences(engine) == ""
    await require_migrated(engine)


INDEXES = """
select schemaname, tablename, regexp_replace(indexdef, '^.* USING ', '') as definition
from pg_indexes
where schemaname = any(cast(:schemas as text[])) and tablename <> 'alembic_version'
  and not exists (
      select from pg_class c where c.relispartition
        and c.relname = tablename and c.relnamespace = schemaname::regnamespace
  )
order by 1, 2, 3
"""
INDEXES_OF_PARTITIONS = """
select coalesce(i.inhparent, c.oid)::regclass::text as name,
       case when i.inhrelid is not null then c.oid::regclass::text end as partition,
       array_agg(regexp_replace(pg_get_indexdef(x.indexrelid), '^.* USING ', '')
                 order by regexp_replace(pg_get_indexdef(x.indexrelid), '^.* USING ', ''))
           as definitions
from pg_class c left join pg_inherits i on i.inhrelid = c.oid join pg_index x on x.indrelid = c.oid
where c.relkind = 'p' or c.relkind = 'r' and c.relispartition
group by 1, 2
"""
STORAGE = """
select coalesce(i.inhparent, c.oid)::regclass::text as name, c.oid::regclass::text as partition,
       coalesce(c.reloptions, '{}') as parameters
from pg_class c left join pg_inherits i on i.inhrelid = c.oid
where c.relkind = 'r' and c.relnamespace::regnamespace::text = any(cast(:schemas as text[]))
"""


async def test_the_migrations_make_the_indexes_of_the_code_with_their_predicates(
    engine: AsyncEngine,
) -> None:
    """Alembic compares no predicates: a database made from the tables themselves is compared."""
    owned = list(tables.SCHEMAS)
    await migrate(engine)
    async with transaction(engine) as connection:
        migrated = await fetch_rows(connection, INDEXES, schemas=owned)
        for schema in owned:
            await connection.execute(text(f"drop schema {schema} cascade"))
            await connection.execute(text(f"create schema {schema}"))
        await connection.run_sync(tables.metadata.create_all)
        declared = await fetch_rows(connection, INDEXES, schemas=owned)

    assert declared
    assert [tuple(row) for row in migrated] == [tuple(row) for row in declared]


async def test_every_partition_has_the_storage_and_the_indexes_of_its_table(
    engine: AsyncEngine,
) -> None:
    """Those that the migrations make, and those that the services make later."""
    await migrate(engine)
    partitioned = [
        table for table in tables.metadata.tables.values() if "partitioned_by" in table.info
    ]
    assert await create_partitions(engine, partitioned, now=datetime(2040, 1, 1, tzinfo=UTC))

    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, STORAGE, schemas=list(tables.SCHEMAS))
        indexes = await fetch_rows(connection, INDEXES_OF_PARTITIONS)

    found = {(row.name, row.partition): sorted(row.parameters) for row in rows}
    found.pop(("control.alembic_version",) * 2)
    assert found == {(name, partition): declared_storage(name) for name, partition in found}
    declared = {row.name: row.definitions for row in indexes if row.partition is None}
    assert declared.keys() == {table.fullname for table in partitioned}
    for row in indexes:
        assert row.definitions == declared[row.name], row.partition


def declared_storage(name: str) -> list[str]:
    parameters = tables.metadata.tables[name].info.get("storage", {})
    return sorted(f"{parameter}={value}" for parameter, value in parameters.items())


async def test_migrating_again_changes_nothing(engine: AsyncEngine) -> None:
    await migrate(engine)
    await migrate(engine)

    assert await find_differences(engine) == ""


async def test_concurrent_migrations_wait_for_one_another(engine: AsyncEngine) -> None:
    await asyncio.gather(*(migrate(engine) for _ in range(3)))

    assert await find_differences(engine) == ""


async def test_a_machine_that_is_slow_between_two_statements_and_within_one_can_migrate(
    database_url: str,
) -> None:
    limit = timedelta(milliseconds=200)
    engine = open_engine(
        DatabaseSettings.model_validate(
            {
                "url": database_url,
                "idle_in_transaction_timeout": limit,
                "lock_timeout": limit,
                "statement_timeout": limit,
                "answer_timeout": 2 * limit,
            }
        )
    )
    was_idle: list[bool] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def stay_idle(connection: SyncConnection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("CREATE INDEX") and not was_idle:
            was_idle.append(threading.Event().wait(2 * limit.total_seconds()))
            connection.exec_driver_sql(f"select pg_sleep({3 * limit.total_seconds()})")

    try:
        await migrate(engine)
    finally:
        event.remove(Engine, "before_cursor_execute", stay_idle)

    assert was_idle
    assert await find_differences(engine) == ""
    await engine.dispose()


async def test_a_service_does_not_start_on_a_database_that_was_not_migrated(
    engine: AsyncEngine,
) -> None:
    with pytest.raises(InvalidSettings, match="slipstream db migrate"):
        await require_migrated(engine)


@pytest.fixture
async def migrated(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


async def execute(engine: AsyncEngine, *statements: str) -> None:
    async with transaction(engine) as connection:
        for statement in statements:
            await connection.execute(text(statement))


NEWER = "update control.alembic_version set version_num = '9999'"


@pytest.mark.parametrize(
    "statements",
    [
        ["create index by_hand on executor.orders (expires_at)"],
        ["alter table executor.orders add column note text"],
        ["create table executor.notes (note text not null)"],
        [NEWER, "alter table executor.orders add column priority integer not null default 0"],
    ],
    ids=["index", "column", "table", "newer release"],
)
async def test_what_an_operator_or_a_newer_release_adds_does_not_matter(
    migrated: AsyncEngine, statements: list[str]
) -> None:
    await execute(migrated, *statements)

    await require_migrated(migrated)


@pytest.mark.parametrize(
    ("statement", "advice"),
    [
        (
            "update control.alembic_version set version_num = '0017'",
            "is at revision 0017, .* run `slipstream db migrate`",
        ),
        (
            "update control.alembic_version set version_num = 'by-hand'",
            "is at revision by-hand, .* run `slipstream db migrate`",
        ),
        ("delete from control.alembic_version", "is at revision none"),
        (
            "alter table executor.orders drop column body cascade",
            r"lacks .* executor\.orders\.body",
        ),
        (
            "alter table executor.orders add column priority integer not null",
            r"does not know .* executor\.orders\.priority",
        ),
    ],
    ids=["older", "unknown", "no revision", "column removed", "column needed"],
)
async def test_a_database_that_this_release_cannot_run_on_is_refused_with_what_to_do(
    migrated: AsyncEngine, statement: str, advice: str
) -> None:
    await execute(migrated, statement)

    with pytest.raises(InvalidSettings, match=advice):
        await require_migrated(migrated)


async def test_an_older_release_leaves_the_tables_of_a_newer_one_as_they_are(
    migrated: AsyncEngine,
) -> None:
    await execute(migrated, NEWER)

    await migrate(migrated)

    async with transaction(migrated) as connection:
        rows = await fetch_rows(connection, "select version_num from control.alembic_version")
    assert [row.version_num for row in rows] == ["9999"]


async def test_an_unreachable_database_is_reported_with_its_variable() -> None:
    unreachable = open_engine(
        DatabaseSettings.model_validate({"url": "postgresql://nobody:hunter2@127.0.0.1:1/none"})
    )

    with pytest.raises(InvalidSettings, match="DATABASE_URL") as refused:
        await require_migrated(unreachable)

    assert "hunter2" not in str(refused.value)
    await unreachable.dispose()


async def test_an_unreachable_database_is_a_transient_error_and_a_duplicate_row_is_not(
    engine: AsyncEngine,
) -> None:
    unreachable = open_engine(
        DatabaseSettings.model_validate({"url": "postgresql://nobody@127.0.0.1:1/none"})
    )
    with pytest.raises(Transient):
        async with transaction(unreachable):
            pass
    await unreachable.dispose()

    await migrate(engine)
    twice = (
        "insert into ingest.cursors (feed, block_number) "
        "values ('chain', 1), ('chain', 2) returning 1"
    )
    with pytest.raises(IntegrityError):
        async with transaction(engine) as connection:
            await fetch_rows(connection, twice)


async def test_a_connection_that_was_cut_is_a_transient_error(engine: AsyncEngine) -> None:
    async def cut_connection() -> None:
        async with transaction(engine) as connection:
            await fetch_rows(connection, "select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Transient):
        await cut_connection()

    async with transaction(engine) as connection:
        assert (await fetch_rows(connection, "select 1 as one"))[0].one == 1


CHECK = """
import asyncio, sys
from shared.db.engine import engine_scope
from shared.db.migrate import require_migrated
from shared.db.settings import DatabaseSettings

async def check():
    async with engine_scope(DatabaseSettings.model_validate({"url": sys.argv[1]})) as engine:
        await require_migrated(engine)

asyncio.run(check())
"""


def test_the_check_of_the_tables_prints_nothing(migrated_database_url: str) -> None:
    """Commands print their own output alone."""
    checked = subprocess.run(
        [sys.executable, "-c", CHECK, migrated_database_url],
        capture_output=True,
        text=True,
        check=True,
    )

    assert checked.stdout == ""
