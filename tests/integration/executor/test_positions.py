"""Positions are what the trades say, at every moment: nothing else moves them."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import Order
from shared.db.engine import fetch_rows, transaction
from shared.domain.money import Side
from shared.messages.orders import FINAL_STATES, OrderState, TradeReported, TradeStatus
from tests.builders import (
    LEADER,
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

pytestmark = pytest.mark.integration

BOUGHT = (shares(10), -usdc("5.1"), 1)


async def booked(orders: PostgresOrders, *trades: TradeReported) -> None:
    for trade in trades:
        await orders.record_trade(trade, now=NOON)


async def position(
    engine: AsyncEngine, *, proxy: str = PROXY, token_id: str = TOKEN
) -> tuple[int, int, int] | None:
    """Shares, cash and trades."""
    asked = "select shares, cash_usdc, trades from executor.positions where proxy = :proxy and token_id = :token_id"
    async with transaction(engine) as connection:
        found = await fetch_rows(connection, asked, proxy=proxy, token_id=token_id)
    return (found[0].shares, found[0].cash_usdc, found[0].trades) if found else None


async def test_a_bought_share_is_held_and_its_price_and_fee_are_paid(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await booked(orders, a_trade())

    assert await position(engine) == BOUGHT
    assert await position(engine, proxy=OTHER_PROXY) is None
    assert await position(engine, token_id="12") is None


async def test_a_sold_share_is_gone_and_its_proceeds_are_less_the_fee(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await booked(
        orders,
        a_trade(),
        a_trade(
            trade_id="venue-2", side=Side.SELL, shares=shares(4), usdc=usdc(3), fee_usdc=usdc("0.2")
        ),
    )

    assert await position(engine) == (shares(6), -usdc("5.1") + usdc("2.8"), 2)


async def test_a_repeated_report_moves_nothing(engine: AsyncEngine, orders: PostgresOrders) -> None:
    await booked(
        orders,
        *(
            a_trade(status=status)
            for status in (TradeStatus.MATCHED, TradeStatus.MINED, TradeStatus.MINED)
        ),
        a_trade(),
    )

    assert await position(engine) == BOUGHT


async def test_a_trade_that_fails_drops_out_by_itself(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await booked(
        orders,
        a_trade(),
        a_trade(trade_id="venue-2"),
        a_trade(trade_id="venue-2", status=TradeStatus.FAILED),
    )
    assert await position(engine) == BOUGHT

    await booked(orders, a_trade(status=TradeStatus.FAILED), a_trade(status=TradeStatus.CONFIRMED))
    assert await position(engine) is None


async def test_what_the_chain_settled_is_the_position(
    engine: AsyncEngine, orders: PostgresOrders
) -> None:
    await booked(orders, a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION))

    await orders.record_settlement(
        resolved(fills=(settled(shares=shares(10) - 3, usdc=usdc(5) - 2, fee_usdc=1),)), now=NOON
    )

    assert await position(engine) == (shares(10) - 3, -usdc(5) + 1, 1)


def an_order(number: int, **overrides: Any) -> Order:
    return Order(
        intent_id=f"{number:032x}", proxy=PROXY, leader=LEADER, order_hash=f"0x{number:064x}", body="bytes", side=Side.BUY, token_id=TOKEN,
        fee_rate=approved().quote.fee_rate, expires_at=approved().expires_at, signed_at=NOON, **overrides,
    )  # fmt: skip


async def test_the_open_orders_are_those_that_are_not_final(orders: PostgresOrders) -> None:
    for number, state in enumerate(OrderState):
        order = an_order(number, state=state)
        await orders.record(order, approved(an_intent(intent_id=order.intent_id)))

    assert {order.state for order in await orders.load_open_orders()} == set(OrderState) - FINAL_STATES
