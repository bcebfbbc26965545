"""What a lookup at the venue makes of an order, and when the operator is alerted."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.executor.decisions import (
    OUTCOME_DEADLINE,
    LookUp,
    Order,
    OrderLookup,
    apply_lookup,
    apply_reply,
    needs_alert,
    needs_chain_check,
    next_step,
)
from shared.messages.orders import OrderState, TradeStatus
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Killed,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)
from tests.builders import NOON, ORDER_HASH, a_trade, seconds, shares, usdc
from tests.orders import an_order

VERIFY_FOR = seconds(4)
EMPTY = OrderLookup(trades=())
HELD = OrderLookup(trades=(), is_open=True)
DELAYED = Accepted(order_id=ORDER_HASH, status="delayed", making=0, taking=0, trade_ids=())


def after_reply(reply: Reply) -> Order:
    """An order that was sent once, at noon."""
    return apply_reply(an_order(), reply, is_first_post=True, now=NOON)


def after_lookup(order: Order, lookup: OrderLookup, *, after_s: int = 0) -> Order:
    """The order after a lookup so many seconds after noon."""
    return apply_lookup(order, lookup, now=NOON + seconds(after_s), verify_for=VERIFY_FOR)


@pytest.mark.parametrize(
    ("reply", "end"),
    [
        (Killed("killed"), OrderState.KILLED),
        (Rejected(Reason.BALANCE_TOO_LOW, "not enough balance"), OrderState.REJECTED),
    ],
)
def test_a_refusal_or_kill_is_final_after_two_empty_lookups_and_the_time_that_views_may_lag(
    reply: Reply, end: OrderState
) -> None:
    order = after_reply(reply)

    once = after_lookup(order, EMPTY, after_s=3)
    too_soon = after_lookup(once, EMPTY, after_s=3)
    late_but_once = after_lookup(order, EMPTY, after_s=4)
    ended = after_lookup(once, EMPTY, after_s=4)

    assert {once.state, too_soon.state, late_but_once.state} == {OrderState.UNKNOWN}
    assert (ended.state, ended.reason) == (end, order.reason)
    assert not needs_chain_check(ended)


def test_a_killed_order_that_was_filled_in_part_ends_with_what_was_filled() -> None:
    order = after_reply(Killed("FOK orders are fully filled or killed."))

    partial = a_trade(shares=shares(3), usdc=usdc(1), status=TradeStatus.CONFIRMED)
    another = a_trade(trade_id="2", shares=shares(1), status=TradeStatus.CONFIRMED)

    matched = after_lookup(order, OrderLookup(trades=(partial,)), after_s=2)
    assert (matched.state, matched.shares) == (OrderState.MATCHED, shares(3))

    ended = after_lookup(matched, OrderLookup(trades=(partial, another)), after_s=4)
    assert (ended.state, ended.shares) == (OrderState.CONFIRMED, shares(4))


def test_the_trades_of_a_lookup_may_be_incomplete_until_no_view_can_lag() -> None:
    order = after_reply(ReplyLost("reset"))
    confirmed = OrderLookup(trades=(a_trade(status=TradeStatus.CONFIRMED),))

    matched = after_lookup(order, confirmed)

    assert (matched.state, next_step(matched, now=NOON)) == (OrderState.MATCHED, LookUp())
    assert after_lookup(matched, confirmed, after_s=3).state is OrderState.MATCHED
    assert after_lookup(matched, confirmed, after_s=4).state is OrderState.CONFIRMED


@pytest.mark.parametrize(
    "order",
    [an_order(state=OrderState.MATCHED), an_order(state=OrderState.MATCHED, unverified_since=NOON)],
)
def test_a_match_is_not_undone_by_a_view_that_does_not_show_it(order: Order) -> None:
    assert after_lookup(order, EMPTY, after_s=10_000) == order


@pytest.mark.parametrize("reply", [ReplyLost("reset"), Duplicated("again"), DELAYED])
def test_an_order_without_a_refusal_is_unknown_until_its_deadline(reply: Reply) -> None:
    deadline_s = int((an_order().expires_at - NOON + OUTCOME_DEADLINE).total_seconds())
    once = after_lookup(after_reply(reply), EMPTY, after_s=1)

    order = after_lookup(once, EMPTY, after_s=deadline_s - 1)
    ended = after_lookup(order, EMPTY, after_s=deadline_s)

    assert (order.state, ended.state) == (OrderState.UNKNOWN, OrderState.KILLED)
    assert order.reason in ended.reason
    assert needs_chain_check(ended)


@pytest.mark.parametrize("reply", [Killed("no"), ReplyLost("reset"), DELAYED])
def test_an_order_that_the_venue_still_holds_is_not_final_however_late_it_is(reply: Reply) -> None:
    order = after_reply(reply)
    for after_s in (10, 1_000, 100_000):
        order = after_lookup(order, HELD, after_s=after_s)
        assert order.state is OrderState.UNKNOWN

    first_empty = after_lookup(order, EMPTY, after_s=100_001)
    too_soon = after_lookup(first_empty, EMPTY, after_s=100_003)
    ended = after_lookup(too_soon, EMPTY, after_s=100_004)

    assert (too_soon.state, ended.state) == (OrderState.UNKNOWN, OrderState.KILLED)


def test_an_order_that_the_venue_never_took_is_rejected_with_its_text_once_it_expires() -> None:
    order = after_reply(RetryLater("Trading is currently disabled."))

    expired = after_lookup(order, EMPTY, after_s=60)
    ended = after_lookup(expired, EMPTY, after_s=64)

    assert (expired.state, ended.state) == (OrderState.UNKNOWN, OrderState.REJECTED)
    assert ended.reason == "Trading is currently disabled."


def test_an_alert_is_needed_once_and_only_past_the_deadline_of_an_unresolved_order() -> None:
    late = an_order().expires_at + OUTCOME_DEADLINE
    unknown = an_order(state=OrderState.UNKNOWN)

    assert needs_alert(unknown, None, now=late)
    assert needs_alert(unknown, HELD, now=late)
    assert needs_alert(replace(unknown, empty_lookups=2), EMPTY, now=late)
    assert not needs_alert(replace(unknown, empty_lookups=1), EMPTY, now=late)
    assert not needs_alert(unknown, None, now=late - timedelta(microseconds=1))
    assert not needs_alert(replace(unknown, alerted_at=NOON), None, now=late)
    assert not needs_alert(replace(unknown, state=OrderState.KILLED), None, now=late)
