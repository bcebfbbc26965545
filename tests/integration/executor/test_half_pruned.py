"""An intent comes again after an interrupted prune: one of its order's two rows has left."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from shared.db.engine import fetch_rows, transaction
from shared.messages.orders import OrderState
from tests.builders import NOON, approved
from tests.orders import MISTAKEN_OPEN_ORDERS, an_order

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("again", [OrderState.WITHDRAWN, OrderState.SIGNED])
@pytest.mark.parametrize(
    ("gone", "state"), [("orders", OrderState.CONFIRMED), ("order_states", None)]
)
async def test_an_order_with_one_of_its_rows_is_completed(
    gone: str,
    state: OrderState | None,
    again: OrderState,
    engine: AsyncEngine,
    orders: PostgresOrders,
) -> None:
    """What is recorded of its state is kept."""
    order = an_order()
    await orders.record(order, approved())
    await orders.save(replace(order, state=OrderState.CONFIRMED), now=NOON)
    async with transaction(engine) as connection:
        await connection.execute(text(f"delete from executor.{gone}"))

    recorded = await orders.record(replace(order, state=again), approved())

    assert recorded.state is (state or again)
    assert await orders.load(order.intent_id) == recorded
    async with transaction(engine) as connection:
        assert await fetch_rows(connection, MISTAKEN_OPEN_ORDERS) == []
