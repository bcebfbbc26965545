"""An order's state and amounts follow the venue's trades and their settlement on the chain."""

import pytest

from shared.domain.history import KEPT_FOR
from shared.messages.orders import OrderReported, OrderState, TradeStatus
from tests.builders import (
    ORDER_HASH,
    TRANSACTION,
    a_trade,
    approved,
    resolved,
    seconds,
    shares,
    usdc,
)
from tests.unit.executor.harness import ExecutorHarness, confirmation_requests, reported_states

OTHER_TRANSACTION = "0x" + "2b" * 32


async def test_a_trade_that_is_settled_again_is_confirmed_by_its_new_transaction() -> None:
    executor = ExecutorHarness()
    reports = [
        a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION),
        a_trade(status=TradeStatus.RETRYING, transaction_hash=TRANSACTION),
        a_trade(status=TradeStatus.MINED, transaction_hash=OTHER_TRANSACTION),
        a_trade(status=TradeStatus.CONFIRMED, transaction_hash=OTHER_TRANSACTION),
    ]

    published = await executor.handle(approved(), *reports)

    assert executor.order.state is OrderState.CONFIRMED
    assert executor.trade.transaction_hash == OTHER_TRANSACTION
    assert [request.transaction_hash for request in confirmation_requests(published)] == [
        TRANSACTION,
        OTHER_TRANSACTION,
        OTHER_TRANSACTION,
    ]
    assert [report.shares for report in published if isinstance(report, OrderReported)] == [
        shares(10)
    ]


async def test_trades_reported_out_of_order_and_repeatedly_confirm_the_order_once() -> None:
    executor = ExecutorHarness()
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    confirmed = a_trade(status=TradeStatus.CONFIRMED, transaction_hash=TRANSACTION)

    published = await executor.handle(approved(), confirmed, mined, a_trade(), confirmed)

    assert set(reported_states(published)) == {OrderState.CONFIRMED}
    assert (executor.order.shares, executor.order.usdc, executor.order.fee_usdc) == (
        shares(10),
        usdc(5),
        usdc("0.1"),
    )


async def test_a_trade_of_an_order_that_was_pruned_is_not_recorded_again() -> None:
    """Its intent came again, too, and was recorded as withdrawn."""
    executor = ExecutorHarness()
    executor.clock.now += KEPT_FOR + seconds(1)

    published = await executor.handle(approved(), a_trade(status=TradeStatus.CONFIRMED))

    assert reported_states(published) == [OrderState.WITHDRAWN]
    assert "may have been pruned" in executor.order.reason
    assert executor.orders.trades == {}


async def test_a_trade_of_another_order_of_the_intent_is_refused_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = ExecutorHarness()
    other = "0x" + "3c" * 32

    published = await executor.handle(
        approved(), a_trade(status=TradeStatus.CONFIRMED, order_hash=other)
    )

    assert reported_states(published) == []
    assert executor.orders.trades == {}
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    for named in (approved().intent_id, other, ORDER_HASH):
        assert named in warning.getMessage()


async def test_an_order_of_two_trades_is_confirmed_by_the_second() -> None:
    executor = ExecutorHarness()
    half = {"shares": shares(5), "usdc": usdc("2.5"), "status": TradeStatus.CONFIRMED}

    await executor.handle(approved(), a_trade(**half))
    assert executor.order.state is OrderState.MATCHED

    await executor.handle(a_trade(trade_id="venue-2", **half))
    assert (executor.order.state, executor.order.shares) == (OrderState.CONFIRMED, shares(10))


async def test_an_order_whose_settlement_failed_has_no_shares_and_no_cost() -> None:
    executor = ExecutorHarness()

    published = await executor.handle(
        approved(), a_trade(status=TradeStatus.MINED), a_trade(status=TradeStatus.FAILED)
    )

    assert reported_states(published)[-1] is OrderState.FAILED
    assert (executor.order.shares, executor.order.usdc, executor.order.fee_usdc) == (0, 0, 0)


async def test_the_failed_half_of_an_order_does_not_count() -> None:
    executor = ExecutorHarness()
    half = {"shares": shares(5), "usdc": usdc("2.5"), "fee_usdc": 0}

    await executor.handle(
        approved(),
        a_trade(status=TradeStatus.FAILED, **half),
        a_trade(trade_id="venue-2", **half),
        a_trade(trade_id="venue-2", status=TradeStatus.CONFIRMED, **half),
    )

    assert (executor.order.state, executor.order.shares, executor.order.usdc) == (
        OrderState.CONFIRMED,
        shares(5),
        usdc("2.5"),
    )


async def test_confirmation_is_requested_only_for_a_trade_that_is_in_a_block() -> None:
    executor = ExecutorHarness()
    matched = a_trade(transaction_hash=TRANSACTION)
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)

    before = await executor.handle(approved(), matched)
    after = await executor.handle(mined)

    assert confirmation_requests(before) == []
    (request,) = confirmation_requests(after)
    assert (request.transaction_hash, request.intent_id) == (TRANSACTION, approved().intent_id)


async def test_the_amounts_of_the_chain_replace_the_rounded_ones_of_the_venue() -> None:
    executor = ExecutorHarness()
    mined = a_trade(status=TradeStatus.MINED, transaction_hash=TRANSACTION)
    await executor.handle(approved(), mined)
    exact = {"order_hash": ORDER_HASH, "shares": shares(10) + 7, "usdc": usdc(5) - 1, "fee_usdc": 3}

    await executor.handler.on_transaction_resolved(resolved(fills=(exact,)))

    trade = executor.trade
    assert (trade.shares, trade.usdc, trade.fee_usdc) == (shares(10) + 7, usdc(5) - 1, 3)
