"""Wherever the executor is killed and whatever the venue replies, an intent becomes one order."""

import pytest

from services.executor.decisions import VenueReply
from shared.domain.errors import Transient
from shared.domain.follows import Mode
from shared.messages.orders import FINAL_STATES, OrderState, TradeStatus
from tests.builders import a_trade, approved, overdue, shares
from tests.fakes import Killed
from tests.unit.executor.fakes import ANSWERS, BODY
from tests.unit.executor.harness import VERIFY_FOR, ExecutorHarness, reported_states


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(
    "crash_after", ["", "record", "post", "save", "save later", "look up", "settle"]
)
async def test_wherever_it_is_killed_one_order_is_sent_and_the_records_equal_the_venues_trades(
    answer: str, crash_after: str
) -> None:
    executor = ExecutorHarness(answer, crash_after=crash_after)

    published = await executor.handle(approved())
    published += await executor.poll_past_deadline()
    confirmed = [
        trade.model_copy(update={"status": TradeStatus.CONFIRMED})
        for trade in executor.venue.trades
    ]
    executor.venue.trades = tuple(confirmed)
    published += await executor.handle(*confirmed)
    published += await executor.poll_past_deadline()

    order, trades = executor.order, executor.venue.trades
    assert set(executor.venue.posted) == {BODY}
    assert order.state in FINAL_STATES
    assert (order.state is OrderState.CONFIRMED) == bool(trades)
    assert order.shares == sum(trade.shares for trade in trades)
    assert reported_states(published)[-1] is order.state
    assert order.alerted_at is None


@pytest.mark.parametrize("crash_after", ["record", "post"])
async def test_a_rejection_of_bytes_that_may_have_been_sent_before_is_not_final(
    crash_after: str,
) -> None:
    """The first request has spent the money, and the venue checks the balance before the hash."""
    executor = ExecutorHarness(crash_after=crash_after)
    with pytest.raises(Killed):
        await executor.handler.on_intent_approved(approved())
    executor.venue.trades = (a_trade(),)
    executor.venue.executed.clear()
    executor.venue.answer = "rejected for the balance"

    published = await executor.handle(approved(), overdue())

    assert OrderState.REJECTED not in reported_states(published)
    assert executor.order.state is OrderState.MATCHED


async def test_an_order_whose_request_was_lost_is_made_by_sending_the_same_bytes_again() -> None:
    executor = ExecutorHarness("request lost")
    await executor.handle(approved())
    executor.venue.answer = "accepted"

    published = await executor.handle(overdue())

    assert executor.venue.posted == [BODY, BODY]
    assert reported_states(published) == []
    assert executor.order.state is OrderState.MATCHED


async def test_an_executed_order_that_no_view_shows_yet_is_found_after_it_is_sent_again() -> None:
    executor = ExecutorHarness("reply lost")
    executor.venue.shows_trades = False
    await executor.handle(approved(), overdue(), overdue())
    assert executor.venue.posted == [BODY, BODY]
    assert executor.order.last_reply is VenueReply.ARRIVED

    executor.venue.shows_trades = True
    await executor.handle(overdue())

    assert (executor.order.state, executor.order.shares) == (OrderState.MATCHED, shares(10))


async def test_nothing_is_sent_again_while_halted() -> None:
    executor = ExecutorHarness("request lost")
    await executor.handle(approved())
    executor.set_mode(Mode.HALTED)

    await executor.handle(overdue())

    assert executor.venue.posted == [BODY]


async def test_an_order_that_was_signed_before_the_halt_is_not_sent_after_it() -> None:
    executor = ExecutorHarness("retry later")
    with pytest.raises(Transient):
        await executor.handler.on_intent_approved(approved())
    executor.set_mode(Mode.HALTED)
    executor.venue.answer = "accepted"
    posts = len(executor.venue.posted)

    await executor.handle(approved(), overdue())

    assert len(executor.venue.posted) == posts
    assert executor.order.state is OrderState.UNKNOWN


async def test_a_venue_that_takes_no_orders_now_gets_the_same_bytes_later() -> None:
    executor = ExecutorHarness("retry later")

    published = await executor.handle(approved())

    assert reported_states(published) == []
    assert executor.order.state is OrderState.MATCHED
    assert executor.venue.posted == [BODY, BODY]


async def test_after_a_refusal_for_now_the_match_is_recorded_before_anything_else() -> None:
    """Else a crash would leave an order that is said never to have arrived."""
    executor = ExecutorHarness("retry later")

    await executor.handle(approved())

    assert executor.orders.late == {}
    assert executor.orders.orders[executor.order.intent_id].state is OrderState.MATCHED


async def test_a_second_post_that_the_venue_does_not_take_now_is_not_an_error() -> None:
    executor = ExecutorHarness("request lost")
    await executor.handle(approved())
    executor.venue.answer = "retry later"

    published = await executor.handler.on_order_overdue(overdue())

    assert published == []
    assert executor.order.state is OrderState.UNKNOWN


async def test_an_order_that_the_venue_never_took_is_rejected_with_the_venues_text() -> None:
    executor = ExecutorHarness("retry later")
    with pytest.raises(Transient):
        await executor.handler.on_intent_approved(approved())
    executor.clock.now = approved().expires_at

    published = await executor.handle(approved())
    executor.clock.now += VERIFY_FOR
    published += await executor.handle(overdue())

    assert reported_states(published) == [OrderState.UNKNOWN, OrderState.REJECTED]
    assert (executor.order.reason, executor.venue.posted) == ("restart", [BODY])
