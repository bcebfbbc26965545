"""An order without an outcome is looked up until it has one; at its deadline an alert follows."""

from datetime import timedelta

import pytest

from services.executor.decisions import SETTLEMENT_DEADLINE
from shared.messages.orders import OrderState, TradeStatus
from tests.builders import (
    NOON,
    ORDER_HASH,
    PROXY,
    TRANSACTION,
    a_trade,
    approved,
    overdue,
    seconds,
    shares,
    usdc,
)
from tests.unit.executor.fakes import BODY
from tests.unit.executor.harness import DEADLINE, VERIFY_FOR, ExecutorHarness, reported_states


@pytest.mark.parametrize(
    "answer", ["reply lost", "request lost", "delayed", "repeated by a gateway"]
)
async def test_an_unknown_order_is_never_final_before_its_deadline(answer: str) -> None:
    executor = ExecutorHarness(answer)
    executor.venue.shows_trades = False

    await executor.handle(approved())
    for moment in (NOON, approved().expires_at, DEADLINE - timedelta(microseconds=1)):
        executor.clock.now = moment
        await executor.handle(overdue())

        assert executor.order.state is OrderState.UNKNOWN
    executor.clock.now = DEADLINE
    await executor.handle(overdue())

    assert executor.order.state is OrderState.KILLED
    assert set(executor.venue.posted) == {BODY}


async def test_a_partial_fill_of_a_killed_order_is_recorded() -> None:
    executor = ExecutorHarness("killed with a partial fill")
    await executor.handle(approved())
    assert executor.order.state is OrderState.UNKNOWN
    partial = {"shares": shares(3), "usdc": usdc("1.5"), "fee_usdc": 0}
    executor.venue.trades = (a_trade(**partial),)

    published = await executor.poll_past_deadline()
    assert (executor.order.state, executor.order.shares) == (OrderState.MATCHED, shares(3))

    published += await executor.handle(a_trade(status=TradeStatus.CONFIRMED, **partial))
    assert (executor.order.state, executor.order.shares, executor.order.usdc) == (
        OrderState.CONFIRMED,
        shares(3),
        usdc("1.5"),
    )
    assert executor.venue.posted == [BODY]
    assert OrderState.KILLED not in reported_states(published)


async def test_a_kill_is_reported_once_the_venue_has_shown_no_trade_for_long_enough() -> None:
    executor = ExecutorHarness("killed")

    published = await executor.handle(approved())
    executor.clock.now = NOON + seconds(2)
    published += await executor.handle(overdue())
    assert reported_states(published) == [OrderState.UNKNOWN]

    executor.clock.now = NOON + VERIFY_FOR
    assert reported_states(await executor.handle(overdue())) == [OrderState.KILLED]


async def test_a_venue_that_does_not_answer_is_no_error_and_one_alert_comes_at_the_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = ExecutorHarness("request lost")
    executor.venue.is_reachable = False
    await executor.handle(approved())

    assert await executor.handler.on_order_overdue(overdue()) == []
    assert executor.order.alerted_at is None
    executor.clock.now = DEADLINE
    for _ in range(3):
        assert await executor.handler.on_order_overdue(overdue()) == []

    assert executor.order.alerted_at == DEADLINE
    assert executor.order.state is OrderState.UNKNOWN
    (alert,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    known = (ORDER_HASH, approved().intent_id, PROXY, "does not answer", "ServerDisconnectedError")
    assert all(fact in alert for fact in known)


@pytest.mark.parametrize(("filled_by", "is_reachable"), [(TRANSACTION, True), ("", False)])
async def test_an_order_without_a_reply_is_not_ended_while_the_chain_may_have_a_fill_of_it(
    filled_by: str, is_reachable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    executor = ExecutorHarness("request lost")
    executor.chain.filled_by, executor.chain.is_reachable = filled_by, is_reachable

    await executor.handle(approved())
    await executor.poll_past_deadline()

    assert (executor.order.state, executor.order.alerted_at) == (
        OrderState.UNKNOWN,
        DEADLINE + seconds(5),
    )
    assert "the chain" in executor.order.reason
    assert "needs an operator" in caplog.text

    executor.venue.trades = (a_trade(),)
    await executor.handle(overdue())
    assert executor.order.state is OrderState.MATCHED


async def test_a_delayed_order_is_followed_for_as_long_as_the_venue_holds_it() -> None:
    executor = ExecutorHarness("delayed")
    executor.venue.shows_trades, executor.venue.holds_order = False, True

    await executor.handle(approved())
    await executor.poll_past_deadline()
    assert (executor.order.state, executor.order.alerted_at) == (OrderState.UNKNOWN, DEADLINE)

    executor.venue.shows_trades, executor.venue.holds_order = True, False
    await executor.handle(overdue())
    assert executor.order.state is OrderState.MATCHED


async def test_the_operator_is_alerted_once_of_a_match_that_is_never_settled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = ExecutorHarness()
    await executor.handle(approved(), overdue())
    assert executor.order.alerted_at is None

    executor.clock.now = late = NOON + SETTLEMENT_DEADLINE
    published = await executor.handle(overdue(), overdue())

    order = executor.order
    assert (order.state, order.alerted_at, order.shares) == (OrderState.MATCHED, late, shares(10))
    assert caplog.text.count("needs an operator, its trades are not settled") == 1
    assert reported_states(published) == []


async def test_reports_of_an_order_that_we_never_made_change_nothing() -> None:
    executor = ExecutorHarness()

    published = await executor.handle(a_trade(), overdue())

    assert published == []
    assert executor.orders.trades == {}
