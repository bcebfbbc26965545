"""What is in memory of open orders, and what is saved late, never contradicts the database."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import Trade
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.leases import Leases
from shared.messages.orders import OrderState, TradeStatus
from shared.messages.transactions import TransactionState
from tests.builders import NOON, TRANSACTION, approved, seconds, shares, usdc
from tests.leases import executor_leases
from tests.orders import an_order

pytestmark = pytest.mark.integration

INTENT_ID = approved().intent_id
MATCHED = an_order(state=OrderState.MATCHED, shares=shares(10), posted_at=NOON)


@pytest.fixture
async def leases(engine: AsyncEngine) -> Leases:
    return await executor_leases(engine)


@pytest.fixture
async def orders(engine: AsyncEngine, leases: Leases) -> PostgresOrders:
    """With memory, and an order that is signed."""
    orders = PostgresOrders(engine, leases)
    await load(orders, leases)
    await orders.record(an_order(), approved())
    return orders


async def load(orders: PostgresOrders, leases: Leases) -> None:
    await orders.load_leases([(lease.partition, lease.token) for lease in leases.held])


def a_recorded_trade(**overrides: Any) -> Trade:
    base = Trade(
        trade_id="venue-1",
        status=TradeStatus.MINED,
        shares=shares(10),
        usdc=usdc(5),
        fee_usdc=0,
        matched_at=NOON,
        transaction_hash=TRANSACTION,
    )
    return replace(base, **overrides)


async def test_a_match_that_waits_to_be_saved_is_known_after_its_lease_is_read_again(
    orders: PostgresOrders, leases: Leases
) -> None:
    await orders.save_later(MATCHED, now=NOON)

    await load(orders, leases)

    assert await orders.load(INTENT_ID) == MATCHED
    assert await orders.load_open_orders() == [MATCHED]


async def test_what_the_chain_made_final_is_not_replaced_by_what_was_known_before(
    engine: AsyncEngine, leases: Leases, orders: PostgresOrders
) -> None:
    known = a_recorded_trade()
    exact = replace(known, shares=7, usdc=4, chain_state=TransactionState.FINAL.value)
    await orders.settle(MATCHED, [known], now=NOON)
    await orders.settle(MATCHED, [exact], now=NOON)

    await orders.settle(MATCHED, [replace(known, status=TradeStatus.CONFIRMED)], now=NOON)
    assert await PostgresOrders(engine, leases).load_trades(INTENT_ID) == (exact,)

    confirmed = replace(exact, status=TradeStatus.CONFIRMED)
    await orders.settle(MATCHED, [confirmed], now=NOON)
    assert await PostgresOrders(engine, leases).load_trades(INTENT_ID) == (confirmed,)


async def test_an_order_that_its_fills_ended_was_answered_when_the_venue_answered(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await orders.save_later(MATCHED, now=NOON)

    ended = replace(MATCHED, state=OrderState.CONFIRMED)
    await orders.settle(ended, [a_recorded_trade()], now=NOON + seconds(9))

    async with autocommit(engine) as connection:
        (row,) = await fetch_rows(
            connection, "select answered_at, confirmed_at from executor.order_states"
        )
    assert (row.answered_at, row.confirmed_at) == (NOON, NOON + seconds(9))


async def test_an_outcome_that_cannot_be_saved_any_more_is_logged_and_the_database_counts(
    engine: AsyncEngine, orders: PostgresOrders, caplog: pytest.LogCaptureFixture
) -> None:
    await orders.save_later(MATCHED, now=NOON)
    async with transaction(engine) as connection:
        await connection.execute(text("update executor.order_states set state = 'unknown'"))

    await orders.late_saves.save_all()

    assert await orders.load(INTENT_ID) == an_order(state=OrderState.UNKNOWN)
    assert orders.list_open() == [an_order(state=OrderState.UNKNOWN)]
    assert f"of intent {INTENT_ID} was not saved" in caplog.text
