"""Fills of final blocks end orders, and batches are handled as single messages are."""

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared.messages.base import Message
from shared.messages.orders import OrderReported, OrderState, TradeStatus
from shared.streams.routes import Outcome, Received
from tests.batches import list_messages
from tests.builders import (
    NOON,
    OTHER_PROXY,
    TRANSACTION,
    a_chain_fill,
    a_trade,
    approved,
    fills_settled,
    overdue,
    seconds,
    shares,
)
from tests.fakes import Killed
from tests.unit.executor.fakes import BODY
from tests.unit.executor.harness import VERIFY_FOR, ExecutorHarness, reported_states

OTHERS = a_chain_fill(order_hash="0x" + "ee" * 32)


def received(message: Any) -> Sequence[Received[Any]]:
    return [Received(message=message, traceparent=None)]


async def finish(outcomes: Sequence[Outcome]) -> list[Message] | None:
    """What the one message of a batch leads to; None: its ordinary route handles it."""
    (outcome,) = outcomes
    if outcome is None:
        return None
    return list_messages(await outcome if isinstance(outcome, Awaitable) else outcome)


async def test_a_copy_is_confirmed_by_the_chain_alone() -> None:
    executor = ExecutorHarness()
    exact = a_chain_fill(shares=shares(10) + 7)

    published = await executor.handle(approved(), fills_settled(fills=(exact,)))

    (report,) = published
    assert isinstance(report, OrderReported)
    assert (report.state, report.shares) == (OrderState.CONFIRMED, shares(10) + 7)
    assert executor.order.state is OrderState.CONFIRMED
    assert (executor.trade.transaction_hash, executor.trade.shares) == (
        TRANSACTION,
        shares(10) + 7,
    )


@pytest.mark.parametrize("crash_after", ["save later", "settle"])
async def test_wherever_it_is_killed_the_fills_count_once_and_the_end_is_reported(
    crash_after: str,
) -> None:
    executor = ExecutorHarness(crash_after=crash_after)

    published = await executor.handle(approved(), fills_settled())
    executor.clock.now += VERIFY_FOR
    published += await executor.handle(overdue())

    assert (executor.order.state, executor.order.shares) == (OrderState.CONFIRMED, shares(10))
    assert executor.trade.shares == shares(10)
    assert reported_states(published)[-1] is OrderState.CONFIRMED
    assert set(executor.venue.posted) == {BODY}


async def test_fills_of_the_followers_own_orders_change_nothing() -> None:
    executor = ExecutorHarness()
    await executor.handle(approved())

    assert await executor.handle(fills_settled(fills=(OTHERS,))) == []
    assert await executor.handle(fills_settled(proxy=OTHER_PROXY)) == []

    assert (executor.order.state, executor.orders.trades) == (OrderState.MATCHED, {})


async def test_a_fill_of_a_killed_order_corrects_it_with_an_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor = ExecutorHarness("killed")
    await executor.handle(approved())
    executor.clock.now = NOON + VERIFY_FOR
    await executor.handle(overdue(), overdue())
    assert executor.order.state is OrderState.KILLED

    published = await executor.handle(fills_settled())
    executor.clock.now += VERIFY_FOR
    published += await executor.handle(overdue())

    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "had ended as killed" in error.getMessage()
    assert reported_states(published)[-1] is OrderState.CONFIRMED
    assert executor.order.shares == shares(10)


async def test_the_venues_later_reports_of_a_settled_order_report_its_end_again() -> None:
    executor = ExecutorHarness()
    await executor.handle(approved(), fills_settled())

    published = await executor.handle(a_trade(status=TradeStatus.MINED, transaction_hash="0xab"))

    assert reported_states(published) == [OrderState.CONFIRMED]
    assert executor.trade.trade_id == TRANSACTION


async def test_a_batch_of_intents_is_signed_recorded_and_posted() -> None:
    executor = ExecutorHarness()

    outcomes = await executor.handler.on_intents_approved(received(approved()))

    assert executor.orders.orders
    assert executor.venue.posted == []
    assert await finish(outcomes) == []
    assert executor.venue.posted == [BODY]
    assert executor.order.state is OrderState.MATCHED


async def test_an_intent_that_may_not_be_signed_any_more_is_withdrawn_in_its_batch() -> None:
    executor = ExecutorHarness()
    executor.clock.now = approved().expires_at

    published = await finish(await executor.handler.on_intents_approved(received(approved())))

    assert published is not None
    assert reported_states(published) == [OrderState.WITHDRAWN]


@pytest.mark.parametrize("reason", ["no lease", "no API key", "no key", "no controls", "recorded"])
async def test_an_intent_that_has_to_wait_or_came_before_is_left_to_its_ordinary_route(
    reason: str,
) -> None:
    executor = ExecutorHarness()
    if reason == "recorded":
        await executor.handle(approved())
        executor.clock.now += seconds(1)
    executor.readiness.is_ready = reason != "no lease"
    executor.signers.has_api_key = reason != "no API key"
    executor.signers.has_key = reason != "no key"
    if reason == "no controls":
        executor.controls.controls = None
    posts = len(executor.venue.posted)

    assert await finish(await executor.handler.on_intents_approved(received(approved()))) is None
    assert len(executor.venue.posted) == posts


async def test_an_order_that_died_with_its_batch_is_found_as_if_its_reply_was_lost() -> None:
    executor = ExecutorHarness(crash_after="post")
    outcomes = await executor.handler.on_intents_approved(received(approved()))
    with pytest.raises(Killed):
        await finish(outcomes)

    await executor.handle(approved(), overdue())

    assert set(executor.venue.posted) == {BODY}
    assert executor.order.state is OrderState.MATCHED


async def test_a_batch_of_fills_is_settled_as_single_ones_are() -> None:
    executor = ExecutorHarness()
    await executor.handle(approved())
    handle = executor.handler.on_fills_settled_of_many

    published = await finish(await handle(received(fills_settled())))

    assert published is not None
    assert reported_states(published) == [OrderState.CONFIRMED]
    assert executor.trade.shares == shares(10)


async def test_fills_of_orders_that_are_not_open_are_left_to_their_ordinary_route() -> None:
    executor = ExecutorHarness()
    await executor.handle(approved(), fills_settled())
    handle = executor.handler.on_fills_settled_of_many

    assert await finish(await handle(received(fills_settled()))) is None
    assert await finish(await handle(received(fills_settled(fills=(OTHERS,))))) is None


@pytest.mark.parametrize("in_batch", [False, True])
async def test_an_end_by_fills_is_published_in_the_trace_of_its_order(in_batch: bool) -> None:
    executor = ExecutorHarness()
    await executor.handle(approved())
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    matched = executor.orders.late
    executor.orders.late = {
        intent_id: replace(order, traceparent=traceparent) for intent_id, order in matched.items()
    }

    if in_batch:
        (published,) = await executor.handler.on_fills_settled_of_many(received(fills_settled()))
    else:
        published = await executor.handler.on_fills_settled(fills_settled())

    assert isinstance(published, list)
    assert [each.traceparent for each in published] == [traceparent]
