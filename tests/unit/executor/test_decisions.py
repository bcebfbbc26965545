"""The next step of an order, by what has happened to it."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.decisions import (
    OUTCOME_DEADLINE,
    Done,
    LookUp,
    Order,
    OrderLookup,
    Send,
    VenueReply,
    apply_lookup,
    apply_reply,
    apply_trades,
    is_update,
    is_worth_sending_again,
    needs_alert,
    needs_chain_check,
    next_step,
    withdrawal_reason,
)
from shared.domain.follows import Mode
from shared.domain.money import Side
from shared.messages.orders import FINAL_STATES, OrderState, TradeStatus
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
from tests.builders import (
    LEADER,
    NOON,
    ORDER_HASH,
    PROXY,
    TOKEN,
    a_trade,
    an_intent,
    approved,
    seconds,
    shares,
    usdc,
)

VERIFY_FOR = seconds(4)
NOTHING = OrderLookup(trades=())
HELD = OrderLookup(trades=(), is_open=True)
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
        (OrderState.SIGNED, Send(), LookUp()),
        (OrderState.UNKNOWN, LookUp(), LookUp()),
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

    assert (
        withdrawal_reason(approval, mode=mode, now=approval.expires_at - timedelta(microseconds=1))
        == ""
    ) is runs
    assert withdrawal_reason(approval, mode=mode, now=approval.expires_at)


def replied(order: Order, reply: Reply, *, is_first: bool = True) -> Order:
    return apply_reply(order, reply, is_first_post=is_first, now=NOON)


def looked(order: Order, look: OrderLookup, *, after: int = 0) -> Order:
    return apply_lookup(order, look, now=NOON + seconds(after), verify_for=VERIFY_FOR)


@pytest.mark.parametrize(
    ("reply", "first", "again", "told"),
    [
        (
            Accepted(status="matched", making=1, taking=1, trade_ids=()),
            OrderState.MATCHED,
            OrderState.MATCHED,
            VenueReply.ARRIVED,
        ),
        (
            Accepted(status="delayed", making=0, taking=0, trade_ids=()),
            OrderState.UNKNOWN,
            OrderState.UNKNOWN,
            VenueReply.ARRIVED,
        ),
        (
            Accepted(status="unmatched", making=0, taking=0, trade_ids=()),
            OrderState.UNKNOWN,
            OrderState.UNKNOWN,
            VenueReply.ARRIVED,
        ),
        (
            Accepted(status="live", making=0, taking=0, trade_ids=()),
            OrderState.UNKNOWN,
            OrderState.UNKNOWN,
            VenueReply.ARRIVED,
        ),
        (
            Accepted(status="matched", making=0, taking=0, trade_ids=("venue-1",)),
            OrderState.MATCHED,
            OrderState.MATCHED,
            VenueReply.ARRIVED,
        ),
        (Killed("no"), OrderState.UNKNOWN, OrderState.UNKNOWN, VenueReply.KILLED),
        (
            Rejected(Reason.BALANCE_TOO_LOW, "no"),
            OrderState.UNKNOWN,
            OrderState.UNKNOWN,
            VenueReply.REJECTED,
        ),
        (Duplicated("again"), OrderState.UNKNOWN, OrderState.UNKNOWN, VenueReply.ARRIVED),
        (ReplyLost("?"), OrderState.UNKNOWN, OrderState.UNKNOWN, VenueReply.NO_REPLY),
    ],
    ids=str,
)
def test_what_the_venue_says_is_kept_and_only_its_yes_is_believed_at_once(
    reply: Reply, first: OrderState, again: OrderState, told: VenueReply
) -> None:
    assert (replied(an_order(), reply).state, replied(an_order(), reply).last_reply) == (
        first,
        told,
    )
    assert replied(an_order(), reply, is_first=False).state is again


def test_what_every_sending_is_refused_for_is_final_at_once_and_only_for_bytes_that_were_never_sent_before() -> (
    None
):
    off_tick = Rejected(Reason.OFF_TICK, "breaks minimum tick size rule: 0.01")

    first, again = replied(an_order(), off_tick), replied(an_order(), off_tick, is_first=False)

    assert (first.state, again.state) == (OrderState.REJECTED, OrderState.UNKNOWN)
    assert first.reason == "off_tick: breaks minimum tick size rule: 0.01"


def test_not_now_is_a_no_only_as_long_as_nothing_else_may_have_happened() -> None:
    assert replied(an_order(), RetryLater("later")).last_reply is VenueReply.RETRY_LATER
    assert (
        replied(
            an_order(last_reply=VenueReply.RETRY_LATER), RetryLater("later"), is_first=False
        ).last_reply
        is VenueReply.RETRY_LATER
    )
    assert replied(an_order(), RetryLater("later"), is_first=False) == an_order()
    assert replied(
        an_order(state=OrderState.UNKNOWN), RetryLater("later"), is_first=False
    ) == an_order(state=OrderState.UNKNOWN)


@pytest.mark.parametrize(
    ("reply", "end"),
    [
        (Killed("killed"), OrderState.KILLED),
        (Rejected(Reason.BALANCE_TOO_LOW, "not enough balance"), OrderState.REJECTED),
    ],
)
def test_a_no_is_final_after_two_looks_and_the_time_that_views_may_lag(
    reply: Reply, end: OrderState
) -> None:
    order = replied(an_order(), reply)

    once = looked(order, NOTHING, after=3)
    too_soon = looked(once, NOTHING, after=3)
    late_but_once = looked(order, NOTHING, after=4)
    believed = looked(once, NOTHING, after=4)

    assert {once.state, too_soon.state, late_but_once.state} == {OrderState.UNKNOWN}
    assert (believed.state, believed.reason) == (end, order.reason)
    assert not needs_chain_check(believed)


def test_a_killed_order_that_was_filled_in_part_ends_with_what_was_filled() -> None:
    order = replied(an_order(), Killed("FOK orders are fully filled or killed."))

    found = looked(
        order,
        OrderLookup(
            trades=(a_trade(shares=shares(3), usdc=usdc(1), status=TradeStatus.CONFIRMED),)
        ),
        after=2,
    )
    assert (found.state, found.shares) == (OrderState.MATCHED, shares(3))

    more = (
        a_trade(shares=shares(3), status=TradeStatus.CONFIRMED),
        a_trade(trade_id="2", shares=shares(1), status=TradeStatus.CONFIRMED),
    )
    ended = looked(found, OrderLookup(trades=more), after=4)
    assert (ended.state, ended.shares) == (OrderState.CONFIRMED, shares(4))


def test_trades_that_are_found_may_not_be_all_until_no_view_can_lag() -> None:
    order = replied(an_order(), ReplyLost("reset"))
    confirmed = OrderLookup(trades=(a_trade(status=TradeStatus.CONFIRMED),))

    found = looked(order, confirmed)
    assert (found.state, next_step(found, now=NOON)) == (OrderState.MATCHED, LookUp())
    assert looked(found, confirmed, after=3).state is OrderState.MATCHED
    assert looked(found, confirmed, after=4).state is OrderState.CONFIRMED


@pytest.mark.parametrize(
    "order",
    [an_order(state=OrderState.MATCHED), an_order(state=OrderState.MATCHED, unverified_since=NOON)],
)
def test_a_match_is_not_undone_by_a_view_that_does_not_show_it(order: Order) -> None:
    assert looked(order, NOTHING, after=10_000) == order


@pytest.mark.parametrize(
    "reply",
    [
        ReplyLost("reset"),
        Duplicated("again"),
        Accepted(status="delayed", making=0, taking=0, trade_ids=()),
    ],
)
def test_what_nobody_said_no_to_is_unknown_until_its_deadline(reply: Reply) -> None:
    deadline = int((an_order().expires_at - NOON + OUTCOME_DEADLINE).total_seconds())
    order = looked(
        looked(replied(an_order(), reply), NOTHING, after=1), NOTHING, after=deadline - 1
    )

    ended = looked(order, NOTHING, after=deadline)

    assert (order.state, ended.state) == (OrderState.UNKNOWN, OrderState.KILLED)
    assert order.reason in ended.reason
    assert needs_chain_check(ended)


@pytest.mark.parametrize(
    "reply",
    [
        Killed("no"),
        ReplyLost("reset"),
        Accepted(status="delayed", making=0, taking=0, trade_ids=()),
    ],
)
def test_an_order_that_the_venue_still_holds_is_not_over_however_late_it_is(reply: Reply) -> None:
    order = replied(an_order(), reply)
    for after in (10, 1_000, 100_000):
        order = looked(order, HELD, after=after)
        assert order.state is OrderState.UNKNOWN

    gone = looked(looked(order, NOTHING, after=100_001), NOTHING, after=100_003)
    assert (gone.state, looked(gone, NOTHING, after=100_004).state) == (
        OrderState.UNKNOWN,
        OrderState.KILLED,
    )


def test_what_was_never_taken_in_its_time_is_refused_in_the_venues_words() -> None:
    order = replied(an_order(), RetryLater("Trading is currently disabled."))

    over = looked(order, NOTHING, after=60)
    ended = looked(over, NOTHING, after=64)

    assert (over.state, ended.state, ended.reason) == (
        OrderState.UNKNOWN,
        OrderState.REJECTED,
        "Trading is currently disabled.",
    )


@pytest.mark.parametrize(
    ("order", "again"),
    [
        (an_order(state=OrderState.UNKNOWN), True),
        (an_order(state=OrderState.UNKNOWN, expires_at=NOON), False),
        *(
            (an_order(state=OrderState.UNKNOWN, last_reply=told), False)
            for told in VenueReply
            if told is not VenueReply.NO_REPLY
        ),
        (an_order(state=OrderState.KILLED), False),
    ],
)
def test_the_same_bytes_are_sent_again_only_in_their_time_and_where_nothing_was_said(
    order: Order, *, again: bool
) -> None:
    assert is_worth_sending_again(order, now=NOON) is again


def test_a_human_is_called_once_and_only_past_the_deadline_where_looking_did_not_help() -> None:
    late = an_order().expires_at + OUTCOME_DEADLINE
    unknown = an_order(state=OrderState.UNKNOWN)

    assert needs_alert(unknown, None, now=late)
    assert needs_alert(unknown, HELD, now=late)
    assert needs_alert(replace(unknown, empty_lookups=2), NOTHING, now=late)
    assert not needs_alert(replace(unknown, empty_lookups=1), NOTHING, now=late)
    assert not needs_alert(unknown, None, now=late - timedelta(microseconds=1))
    assert not needs_alert(replace(unknown, alerted_at=NOON), None, now=late)
    assert not needs_alert(replace(unknown, state=OrderState.KILLED), None, now=late)


@pytest.mark.parametrize(("side", "filled", "money"), [(Side.BUY, 10, 5), (Side.SELL, 5, 10)])
def test_what_is_given_and_got_is_shares_or_money_by_the_side(
    side: Side, filled: int, money: int
) -> None:
    reply = Accepted(status="matched", making=5, taking=10, trade_ids=("venue-1",))

    order = replied(an_order(side=side), reply)

    assert (order.shares, order.usdc) == (filled, money)


@given(st.lists(STATUSES, min_size=1, max_size=5))
def test_whatever_the_order_of_its_reports_a_trade_ends_at_the_first_final_one(
    told: list[TradeStatus],
) -> None:
    known = None
    for status in told:
        report = a_trade(status=status)
        known = report if is_update(known, report) else known

    finals = [each for each in told if each in (TradeStatus.CONFIRMED, TradeStatus.FAILED)]
    assert known is not None
    assert not finals or known.status is finals[0]


@pytest.mark.parametrize("status", [TradeStatus.MATCHED, TradeStatus.RETRYING, TradeStatus.MINED])
def test_a_trade_that_goes_out_again_is_news_by_its_new_transaction(status: TradeStatus) -> None:
    known = a_trade(status=status, transaction_hash="0xa")

    assert is_update(known, a_trade(status=status, transaction_hash="0xb"))
    assert not is_update(known, a_trade(status=status, transaction_hash=""))
    assert not is_update(known, known)


def test_a_mined_trade_may_be_tried_again() -> None:
    mined, retrying = a_trade(status=TradeStatus.MINED), a_trade(status=TradeStatus.RETRYING)

    assert is_update(mined, retrying)
    assert is_update(retrying, mined)
    assert not is_update(retrying, a_trade(status=TradeStatus.MATCHED))


@given(st.lists(STATUSES, min_size=1, max_size=4))
def test_an_order_is_final_exactly_when_all_its_trades_are_and_counts_those_that_did_not_fail(
    statuses: list[TradeStatus],
) -> None:
    trades = [
        a_trade(trade_id=str(number), status=status) for number, status in enumerate(statuses)
    ]
    counted = [trade for trade in trades if trade.status is not TradeStatus.FAILED]
    order = an_order(state=OrderState.MATCHED, shares=sum(trade.shares for trade in trades))

    found = {apply_trades(order, some) for some in list(permutations(trades))[:6]}

    assert len(found) == 1
    (after,) = found
    assert (after.shares, after.usdc) == (shares(10) * len(counted), usdc(5) * len(counted))
    assert (after.state in FINAL_STATES) == all(
        status in (TradeStatus.CONFIRMED, TradeStatus.FAILED) for status in statuses
    )
    assert (after.state is OrderState.FAILED) == (not counted)


def test_an_order_of_which_a_trade_is_missing_is_not_final() -> None:
    order = an_order(state=OrderState.MATCHED, shares=shares(20))

    assert apply_trades(order, [a_trade(status=TradeStatus.CONFIRMED)]).state is OrderState.MATCHED
