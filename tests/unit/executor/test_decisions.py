"""The next step of an order, by what has happened to it."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.decisions import Ask, Done, Order, Send, after_reply, is_news, may_be_signed, next_step, with_trades
from shared.domain.follows import Mode
from shared.domain.money import Side
from shared.messages.orders import FINAL_STATES, OrderState, TradeStatus
from shared.polymarket.replies import Accepted, Duplicated, Killed, Lost, NotNow, Rejected, Reply
from tests.builders import LEADER, NOON, ORDER_HASH, PROXY, TOKEN, a_trade, an_intent, approved, seconds, shares, usdc

STATUSES = st.sampled_from(TradeStatus)


def an_order(**overrides: Any) -> Order:
    base = Order(
        intent_id=approved().intent_id, proxy=PROXY, leader=LEADER, order_hash=ORDER_HASH, body="bytes", side=Side.BUY, token_id=TOKEN,
        state=OrderState.SIGNED, fee_rate=approved().quote.fee_rate, expires_at=NOON + seconds(60), signed_at=NOON,
    )  # fmt: skip
    return replace(base, **overrides)


@pytest.mark.parametrize(
    ("state", "before_its_end", "after_its_end"),
    [
        (OrderState.SIGNED, Send(), Ask()),
        (OrderState.UNKNOWN, Ask(), Ask()),
        (OrderState.MATCHED, Done(), Done()),
        *((state, Done(), Done()) for state in sorted(FINAL_STATES)),
    ],
)
def test_an_order_is_sent_while_it_has_no_answer_and_asked_for_when_an_answer_was_lost(
    state: OrderState, before_its_end: object, after_its_end: object
) -> None:
    order = an_order(state=state)

    assert next_step(order, now=order.expires_at - timedelta(microseconds=1)) == before_its_end
    assert next_step(order, now=order.expires_at) == after_its_end


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("mode", Mode)
def test_what_may_not_run_or_is_over_is_not_signed(mode: Mode, side: Side) -> None:
    approval = approved(an_intent(side=side))
    runs = mode is Mode.ACTIVE or (mode is Mode.REDUCING and side is Side.SELL)

    assert (may_be_signed(approval, mode=mode, now=approval.expires_at - timedelta(microseconds=1)) == "") is runs
    assert may_be_signed(approval, mode=mode, now=approval.expires_at)


@pytest.mark.parametrize(
    ("reply", "first", "again"),
    [
        (Accepted(status="matched", making=1, taking=1, trade_ids=()), OrderState.MATCHED, OrderState.MATCHED),
        (Accepted(status="delayed", making=0, taking=0, trade_ids=()), OrderState.UNKNOWN, OrderState.UNKNOWN),
        (Killed("no"), OrderState.KILLED, OrderState.UNKNOWN),
        (Rejected("no"), OrderState.REJECTED, OrderState.UNKNOWN),
        (Duplicated("again"), OrderState.UNKNOWN, OrderState.UNKNOWN),
        (Lost("?"), OrderState.UNKNOWN, OrderState.UNKNOWN),
        (NotNow("later"), OrderState.SIGNED, OrderState.SIGNED),
    ],
    ids=str,
)
def test_a_no_is_final_only_for_bytes_that_were_never_sent_before(reply: Reply, first: OrderState, again: OrderState) -> None:
    assert after_reply(an_order(), reply, is_first=True).state is first
    assert after_reply(an_order(), reply, is_first=False).state is again


@pytest.mark.parametrize(("side", "filled", "money"), [(Side.BUY, 10, 5), (Side.SELL, 5, 10)])
def test_what_is_given_and_got_is_shares_or_money_by_the_side(side: Side, filled: int, money: int) -> None:
    reply = Accepted(status="matched", making=5, taking=10, trade_ids=("venue-1",))

    order = after_reply(an_order(side=side), reply, is_first=True)

    assert (order.shares, order.usdc) == (filled, money)


@given(st.lists(STATUSES, min_size=1, max_size=5))
def test_whatever_the_order_of_its_reports_a_trade_ends_at_the_first_final_one(told: list[TradeStatus]) -> None:
    status = None
    for each in told:
        status = each if is_news(status, each) else status

    finals = [each for each in told if each in (TradeStatus.CONFIRMED, TradeStatus.FAILED)]
    assert status is not None
    assert not finals or status is finals[0]


@given(st.lists(STATUSES, min_size=1, max_size=4))
def test_an_order_is_final_exactly_when_all_its_trades_are_and_counts_those_that_did_not_fail(statuses: list[TradeStatus]) -> None:
    trades = [a_trade(trade_id=str(number), status=status) for number, status in enumerate(statuses)]
    counted = [trade for trade in trades if trade.status is not TradeStatus.FAILED]
    order = an_order(state=OrderState.MATCHED, shares=sum(trade.shares for trade in trades))

    found = {with_trades(order, some) for some in list(permutations(trades))[:6]}

    assert len(found) == 1
    (after,) = found
    assert (after.shares, after.usdc) == (shares(10) * len(counted), usdc(5) * len(counted))
    assert (after.state in FINAL_STATES) == all(status in (TradeStatus.CONFIRMED, TradeStatus.FAILED) for status in statuses)
    assert (after.state is OrderState.FAILED) == (not counted)


def test_an_order_of_which_a_trade_is_missing_is_not_final() -> None:
    order = an_order(state=OrderState.MATCHED, shares=shares(20))

    assert with_trades(order, [a_trade(status=TradeStatus.CONFIRMED)]).state is OrderState.MATCHED
