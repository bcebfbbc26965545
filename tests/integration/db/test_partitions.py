"""A table's partitions are there before their weeks begin, and rows that came first are moved."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import partitions
from shared.db.engine import engine_scope, fetch_rows, transaction
from shared.db.partitions import create_partitions, partitioning
from shared.domain.errors import Transient
from shared.testing.waiting import eventually
from tests.locks import is_anything_waiting
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

SATURDAY = datetime(2026, 11, 28, 13, tzinfo=UTC)
ORDERS = Table(
    "orders",
    MetaData(),
    Column("intent_id", Text, primary_key=True),
    schema="partitioned",
    **partitioning("intent_id"),
)
CREATE_TABLE = (
    "create schema partitioned",
    "create table partitioned.orders (intent_id text primary key) partition by range (intent_id)",
    "create table partitioned.orders_before partition of partitioned.orders "
    "for values from (minvalue) to ('i')",
    "create table partitioned.orders_default partition of partitioned.orders default",
)
IDS = ("0" * 32, "f" * 32, "i20261122-a", "i20261123-0", "i20261129-f", "i20261130-0")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(patient_settings(database_url)) as engine:
        async with transaction(engine) as connection:
            for statement in CREATE_TABLE:
                await connection.execute(text(statement))
        yield engine


async def insert(engine: AsyncEngine, *ids: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(
            text("insert into partitioned.orders select unnest(cast(:ids as text[]))"),
            {"ids": list(ids)},
        )


async def load_partitions(engine: AsyncEngine) -> dict[str, str]:
    """The partition of each row, without the table's name."""
    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select intent_id, split_part(tableoid::regclass::text, 'orders_', 2) as partition "
            "from partitioned.orders",
        )
    return {row.intent_id: row.partition for row in rows}


EXPECTED = {
    "0" * 32: "before",
    "f" * 32: "before",
    "i20261122-a": "default",
    "i20261123-0": "20261123",
    "i20261129-f": "20261123",
    "i20261130-0": "20261130",
}


async def test_each_week_has_its_partition_two_weeks_ahead(engine: AsyncEngine) -> None:
    created = await create_partitions(engine, [ORDERS], now=SATURDAY)

    assert created == [f"partitioned.orders_{day}" for day in ("20261123", "20261130", "20261207")]
    await insert(engine, *IDS)
    assert await load_partitions(engine) == EXPECTED


async def test_rows_that_came_before_their_partition_are_moved_into_it(engine: AsyncEngine) -> None:
    await insert(engine, *IDS)

    await create_partitions(engine, [ORDERS], now=SATURDAY)

    assert await load_partitions(engine) == EXPECTED


async def test_a_row_that_is_being_written_to_default_is_moved_by_the_next_attempt(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", text("set local lock_timeout = 0"))
    async with transaction(engine) as other:
        await other.execute(text("insert into partitioned.orders values ('i20261123-0')"))
        creating = asyncio.create_task(create_partitions(engine, [ORDERS], now=SATURDAY))
        await eventually(
            lambda: is_anything_waiting(engine), what="the partition waits for the row"
        )

    with pytest.raises(Transient, match="were written to the default partition meanwhile"):
        await creating

    assert len(await create_partitions(engine, [ORDERS], now=SATURDAY)) == 3
    assert await load_partitions(engine) == {"i20261123-0": "20261123"}


async def test_a_row_that_is_moved_meanwhile_is_found_by_who_changes_it(
    engine: AsyncEngine,
) -> None:
    await insert(engine, "i20261123-0")

    async def change() -> int:
        async with transaction(engine) as connection:
            changed = await connection.execute(
                text("update partitioned.orders set intent_id = intent_id where intent_id = :id"),
                {"id": "i20261123-0"},
            )
        return changed.rowcount

    async with transaction(engine) as connection:
        week = partitions.find_week(SATURDAY.date())
        assert await partitions._create_partition(connection, ORDERS, week)
        changing = asyncio.create_task(change())
        await eventually(
            lambda: is_anything_waiting(engine), what="the change waits for the partition"
        )

    assert await changing == 1


async def test_partitions_are_created_once(engine: AsyncEngine) -> None:
    await create_partitions(engine, [ORDERS], now=SATURDAY)

    assert await create_partitions(engine, [ORDERS], now=SATURDAY) == []
