"""An intent is signed only where mode, time, controls, key and open orders allow it."""

import pytest

from shared.domain.errors import Transient
from shared.domain.follows import Mode
from shared.domain.money import Side
from shared.domain.terms import EndMode
from shared.messages.intents import OrderType
from shared.messages.orders import OrderState
from tests.builders import LEADER, a_follow, an_intent, approved, controls, shares
from tests.unit.executor.harness import ExecutorHarness, reported_states


@pytest.mark.parametrize("mode", [Mode.HALTED, Mode.REDUCING])
async def test_an_entry_that_its_mode_forbids_after_approval_is_withdrawn_unsigned(
    mode: Mode,
) -> None:
    executor = ExecutorHarness(mode=mode)
    executor.signers.has_key = False

    published = await executor.handle(approved())

    assert reported_states(published) == [OrderState.WITHDRAWN]
    assert (executor.venue.posted, executor.order.body) == ([], "")
    assert mode in executor.order.reason


async def test_an_exit_is_still_made_while_reducing() -> None:
    executor = ExecutorHarness(mode=Mode.REDUCING)
    exit_ = approved(an_intent(side=Side.SELL), order_type=OrderType.FAK, usdc=0, shares=shares(10))

    published = await executor.handle(exit_)

    assert reported_states(published) == []
    assert executor.order.state is OrderState.MATCHED


@pytest.mark.parametrize("side", Side)
async def test_a_copy_whose_follow_ended_after_approval_is_withdrawn(side: Side) -> None:
    executor = ExecutorHarness()
    executor.controls.controls = controls(a_follow(active=False))

    published = await executor.handle(approved(an_intent(side=side)))

    assert reported_states(published) == [OrderState.WITHDRAWN]
    assert executor.venue.posted == []
    assert "the follow ended" in executor.order.reason


@pytest.mark.parametrize("at_end", [EndMode.CLOSE_OUT, EndMode.FOLLOW])
async def test_a_follow_that_ended_and_does_not_keep_its_shares_still_sells(
    at_end: EndMode,
) -> None:
    executor = ExecutorHarness()
    executor.controls.controls = controls(a_follow(active=False, at_end=at_end))
    exit_ = approved(an_intent(side=Side.SELL), order_type=OrderType.FAK, usdc=0, shares=shares(10))

    published = await executor.handle(exit_)

    assert reported_states(published) == []
    assert executor.order.state is OrderState.MATCHED


async def test_an_expired_intent_is_withdrawn() -> None:
    executor = ExecutorHarness()
    executor.clock.now = approved().expires_at

    published = await executor.handle(approved())

    assert reported_states(published) == [OrderState.WITHDRAWN]
    assert executor.venue.posted == []


async def test_an_intent_that_cannot_be_signed_is_withdrawn_so_that_its_reservation_ends() -> None:
    executor = ExecutorHarness()
    executor.signers.has_key = False

    published = await executor.handle(approved())

    assert reported_states(published) == [OrderState.WITHDRAWN]
    assert "there is no key" in executor.order.reason


async def test_a_withdrawn_intent_stays_withdrawn_after_the_halt() -> None:
    executor = ExecutorHarness(mode=Mode.HALTED)
    await executor.handle(approved())
    executor.set_mode(Mode.ACTIVE)

    published = await executor.handle(approved())

    assert reported_states(published) == [OrderState.WITHDRAWN]
    assert executor.venue.posted == []


async def test_without_confirmed_controls_nothing_is_signed() -> None:
    executor = ExecutorHarness()
    executor.controls.controls = None

    with pytest.raises(Transient):
        await executor.handler.on_intent_approved(approved())

    assert (executor.venue.posted, executor.orders.orders) == ([], {})


async def test_nothing_new_is_recorded_or_sent_before_the_open_orders_are_checked() -> None:
    executor = ExecutorHarness()
    executor.readiness.is_ready = False

    with pytest.raises(Transient, match="come first"):
        await executor.handler.on_intent_approved(approved())

    assert (executor.venue.posted, executor.orders.orders) == ([], {})


async def test_an_order_names_the_leader_who_is_copied() -> None:
    executor = ExecutorHarness()

    await executor.handle(approved())

    assert executor.order.leader == LEADER
