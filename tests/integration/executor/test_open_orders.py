"""An order is listed as open from its record until its final state, and never otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import Order
from shared.db.engine import engine_scope, fetch_rows, transaction
from shared.domain.errors import Transient
from shared.messages.orders import FINAL_STATES, OrderState
from shared.testing.waiting import eventually
from tests.builders import NOON, an_intent, approved
from tests.leases import executor_leases
from tests.orders import MISTAKEN_OPEN_ORDERS, numbered_order
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

CUT = r"AdminShutdownError \(57P01\)|ConnectionDoesNotExistError|connection was closed"


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    """What waits for a locked row waits until it is cut, however long that takes."""
    async with engine_scope(patient_settings(migrated_database_url)) as engine:
        yield engine


async def record(orders: PostgresOrders, order: Order) -> Order:
    return await orders.record(order, approved(an_intent(intent_id=order.intent_id)))


async def assert_listed(engine: AsyncEngine, orders: PostgresOrders, *expected: Order) -> None:
    async with transaction(engine) as connection:
        assert await fetch_rows(connection, MISTAKEN_OPEN_ORDERS) == []
    listed = {order.intent_id: order.state for order in await orders.load_open_orders()}
    assert listed == {order.intent_id: order.state for order in expected}


async def test_an_order_is_listed_in_each_state_that_is_not_final(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    """Also again: a trade may be reported after the end of its order."""
    recorded = [
        (numbered_order(number, state=first), second, third)
        for number, (first, second, third) in enumerate(product(OrderState, repeat=3))
    ]
    last: list[Order] = []
    for step in range(3):
        last = [replace(each[0], state=(each[0].state, *each[1:])[step]) for each in recorded]
        await asyncio.gather(
            *(orders.save(each, now=NOON) if step else record(orders, each) for each in last)
        )
        await assert_listed(
            engine, orders, *(each for each in last if each.state not in FINAL_STATES)
        )


async def test_fills_of_thousands_of_orders_that_are_not_open_wait_for_no_connection(
    migrated_database_url: str, engine: AsyncEngine
) -> None:
    """Those of one block come at once, each in a message of its own. With a statement for each they
    took all connections, and leases expired that could not be renewed.
    """
    settings = patient_settings(migrated_database_url).model_copy(
        update={"connections": 1, "pool_timeout": timedelta(milliseconds=1)}
    )
    async with engine_scope(settings) as narrow:
        orders = PostgresOrders(narrow, await executor_leases(engine))
        ended = numbered_order(1)
        await record(orders, ended)
        await orders.save(replace(ended, state=OrderState.KILLED), now=NOON)

        found = await asyncio.gather(
            *(orders.load_by_hash([f"0x{number:064x}"]) for number in range(10, 5_010))
        )
        (of_ended,) = await orders.load_by_hash([f"0x{10:064x}", ended.order_hash])

    assert found == [[]] * 5_000
    assert of_ended.order.intent_id == ended.intent_id


async def test_recording_an_order_again_does_not_open_it(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    order = numbered_order(1)
    await record(orders, order)
    await orders.save(replace(order, state=OrderState.KILLED), now=NOON)

    assert (await record(orders, order)).state is OrderState.KILLED

    await assert_listed(engine, orders)


@asynccontextmanager
async def locked_row(engine: AsyncEngine, table: str) -> AsyncIterator[None]:
    """A statement that changes the row of the order waits until its connection is cut."""
    async with engine.connect() as connection:
        await connection.execute(text(f"select * from executor.{table} for update"))
        yield
        await connection.rollback()


async def cut_waiting_connection(engine: AsyncEngine) -> bool:
    async with transaction(engine) as connection:
        cut = await fetch_rows(
            connection,
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where wait_event_type = 'Lock' and datname = current_database()",
        )
    return bool(cut)


@pytest.mark.parametrize("table", ["order_states", "open_orders"])
async def test_of_a_statement_that_is_cut_nothing_is_written(
    engine: AsyncEngine, orders: PostgresOrders, table: str
) -> None:
    order = numbered_order(1)
    await record(orders, order)
    ended = replace(order, state=OrderState.KILLED)
    async with locked_row(engine, table):
        saving = asyncio.create_task(orders.save(ended, now=NOON))
        await eventually(lambda: cut_waiting_connection(engine))
        with pytest.raises(Transient, match=CUT):
            await saving

    await assert_listed(engine, orders, order)

    await orders.save(ended, now=NOON)
    await assert_listed(engine, orders)
