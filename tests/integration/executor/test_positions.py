"""Positions are the sums of the trades at every moment: nothing else changes them."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from shared.db import tables
from shared.db.engine import fetch_rows, transaction
from shared.db.partitions import create_partitions
from shared.db.position_sums import fold_trades
from shared.domain.money import Side
from shared.messages.orders import FINAL_STATES, OrderState, TradeReported, TradeStatus
from tests.builders import (
    NOON,
    OTHER_PROXY,
    PROXY,
    TOKEN,
    TRANSACTION,
    a_trade,
    an_intent,
    approved,
    resolved,
    settled,
    shares,
    usdc,
)
from tests.orders import numbered_order, record_trade

pytestmark = pytest.mark.integration

BOUGHT = (shares(10), -usdc("5.1"), 1)


async def record_trades(orders: PostgresOrders, *trades: TradeReported) -> None:
    for trade in trades:
        await record_trade(orders, trade)


async def fetch_position(
    engine: AsyncEngine, *, proxy: str = PROXY, token_id: str = TOKEN
) -> tuple[int, int, int] | None:
    """Shares, cash and trades."""
    query = """
        select shares, cash_usdc, trades from executor.positions
        where proxy = :proxy and token_id = :token_id
    """
    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, query, proxy=proxy, token_id=token_id)
    return (rows[0].shares, rows[0].cash_usdc, rows[0].trades) if rows else None


async def test_a_bought_share_adds_to_the_position_and_costs_its_price_and_fee(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await record_trades(orders, a_trade())

    assert await fetch_position(engine) == BOUGHT
    assert await fetch_position(engine, proxy=OTHER_PROXY) is None
    assert await fetch_position(engine, token_id="12") is None


async def test_a_sold_share_leaves_the_position_and_brings_its_price_less_the_fee(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await record_trades(
        orders,
        a_trade(),
        a_trade(
            intent_id="2b" * 16,
            side=Side.SELL,
            shares=shares(4),
            usdc=usdc(3),
            fee_usdc=usdc("0.2"),
        ),
    )

    assert await fetch_position(engine) == (shares(6), -usdc("5.1") + usdc("2.8"), 2)


async def test_a_repeated_report_changes_nothing(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await record_trades(
        orders,
        *(
            a_trade(status=status)
            for status in (TradeStatus.MATCHED, TradeStatus.MINED, TradeStatus.MINED)
        ),
        a_trade(),
    )

    assert await fetch_position(engine) == BOUGHT


async def test_a_failed_trade_does_not_count(engine: AsyncEngine, orders: PostgresOrders) -> None:
    await record_trades(
        orders,
        a_trade(),
        a_trade(trade_id="venue-2"),
        a_trade(trade_id="venue-2", status=TradeStatus.FAILED),
    )
    assert await fetch_position(engine) == BOUGHT

    await record_trades(
        orders, a_trade(status=TradeStatus.FAILED), a_trade(status=TradeStatus.CONFIRMED)
    )
    assert await fetch_position(engine) is None


async def test_the_amounts_of_the_chain_are_the_position(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await record_trades(orders, a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION))

    await orders.record_settlement(
        resolved(fills=(settled(shares=shares(10) - 3, usdc=usdc(5) - 2, fee_usdc=1),)), now=NOON
    )

    assert await fetch_position(engine) == (shares(10) - 3, -usdc(5) + 1, 1)


async def test_positions_are_the_same_without_the_partitions_that_were_folded(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    """The trades of three partitions; those that failed count in none."""
    for number, day in enumerate(("20260105", "20260106", "20260112")):
        await record_trades(
            orders,
            a_trade(intent_id=f"i{day}-{number:024x}"),
            a_trade(intent_id=f"i{day}-{number:024x}", trade_id="2", status=TradeStatus.FAILED),
        )
    await record_trades(orders, a_trade(side=Side.SELL, shares=shares(4), usdc=usdc(3)))
    await create_partitions(engine, [tables.trades], now=datetime(2026, 1, 5, tzinfo=UTC))
    before = await fetch_position(engine)
    assert before == (shares(26), -3 * usdc("5.1") + usdc("2.9"), 4)

    for partition in ("trades_20260105", "trades_20260112", "trades_before"):
        async with transaction(engine) as connection:
            await fold_trades(connection, f"executor.{partition}")
            await connection.execute(text(f"drop table executor.{partition}"))

    assert await fetch_position(engine) == before
    assert await orders.load_trades("i20260105-" + "0" * 24) == ()


async def test_the_open_orders_are_those_that_are_not_final(orders: PostgresOrders) -> None:
    for number, state in enumerate(OrderState):
        order = numbered_order(number, state=state)
        await orders.record(order, approved(an_intent(intent_id=order.intent_id)))

    assert {order.state for order in await orders.load_open_orders()} == set(
        OrderState
    ) - FINAL_STATES
