"""The next step of an order and what the venue's reply makes of it."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.executor.decisions import (
    Done,
    LookUp,
    Order,
    Send,
    VenueReply,
    apply_reply,
    is_worth_sending_again,
    next_step,
    obstacle_may_pass,
    withdrawal_reason,
)
from shared.domain.follows import Mode
from shared.domain.money import Side
from shared.messages.orders import FINAL_STATES, OrderState
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
from tests.builders import NOON, ORDER_HASH, a_follow, an_intent, approved
from tests.orders import an_order


def accepted(
    status: str, *, making: int = 0, taking: int = 0, trade_ids: tuple[str, ...] = ()
) -> Accepted:
    return Accepted(
        order_id=ORDER_HASH, status=status, making=making, taking=taking, trade_ids=trade_ids
    )


def after_reply(order: Order, reply: Reply, *, is_first_post: bool = True) -> Order:
    return apply_reply(order, reply, is_first_post=is_first_post, now=NOON)


@pytest.mark.parametrize(
    ("state", "before_expiry", "after_expiry"),
    [
        (OrderState.SIGNED, Send(), LookUp()),
        (OrderState.UNKNOWN, LookUp(), LookUp()),
        (OrderState.MATCHED, Done(), Done()),
        *((state, Done(), Done()) for state in sorted(FINAL_STATES)),
    ],
)
def test_a_signed_order_is_sent_until_it_expires_and_an_unknown_one_is_looked_up(
    state: OrderState, before_expiry: object, after_expiry: object
) -> None:
    order = an_order(state=state)

    assert next_step(order, now=order.expires_at - timedelta(microseconds=1)) == before_expiry
    assert next_step(order, now=order.expires_at) == after_expiry


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("mode", Mode)
def test_an_intent_that_its_mode_forbids_or_that_has_expired_is_not_signed(
    mode: Mode, side: Side
) -> None:
    price = Decimal("0.51") if side is Side.BUY else Decimal("0.49")
    intent = approved(an_intent(side=side), limit_price=price)
    last_moment = intent.expires_at - timedelta(microseconds=1)
    is_allowed = mode is Mode.ACTIVE or (mode is not Mode.HALTED and side is Side.SELL)

    def reason(now: datetime, *, is_followed: bool = True) -> str:
        follow = a_follow() if is_followed else None
        return withdrawal_reason(intent, mode=mode, follow=follow, now=now)

    assert (reason(last_moment) == "") is is_allowed
    assert reason(intent.expires_at)
    assert reason(last_moment, is_followed=False)


@pytest.mark.parametrize(
    ("reply", "state", "last_reply"),
    [
        (accepted("matched", making=1, taking=1), OrderState.MATCHED, VenueReply.ARRIVED),
        (accepted("delayed"), OrderState.UNKNOWN, VenueReply.ARRIVED),
        (accepted("unmatched"), OrderState.UNKNOWN, VenueReply.ARRIVED),
        (accepted("live"), OrderState.UNKNOWN, VenueReply.ARRIVED),
        (accepted("matched", trade_ids=("venue-1",)), OrderState.MATCHED, VenueReply.ARRIVED),
        (Killed("no"), OrderState.UNKNOWN, VenueReply.KILLED),
        (Rejected(Reason.BALANCE_TOO_LOW, "no"), OrderState.UNKNOWN, VenueReply.REJECTED),
        (Duplicated("again"), OrderState.UNKNOWN, VenueReply.ARRIVED),
        (ReplyLost("?"), OrderState.UNKNOWN, VenueReply.NO_REPLY),
    ],
    ids=str,
)
def test_of_the_replies_to_any_post_only_a_match_is_relied_on_at_once(
    reply: Reply, state: OrderState, last_reply: VenueReply
) -> None:
    first = after_reply(an_order(), reply)
    later = after_reply(an_order(), reply, is_first_post=False)

    assert (first.state, first.last_reply) == (state, last_reply)
    assert later.state is state


def test_a_rejection_that_any_post_would_get_is_final_only_on_the_first_post() -> None:
    off_tick = Rejected(Reason.OFF_TICK, "breaks minimum tick size rule: 0.01")

    first = after_reply(an_order(), off_tick)
    later = after_reply(an_order(), off_tick, is_first_post=False)

    assert (first.state, later.state) == (OrderState.REJECTED, OrderState.UNKNOWN)
    assert first.reason == "off_tick: breaks minimum tick size rule: 0.01"


def test_retry_later_counts_as_a_refusal_only_while_no_post_can_have_been_taken() -> None:
    refused = an_order(last_reply=VenueReply.RETRY_LATER)
    unknown = an_order(state=OrderState.UNKNOWN)
    reply = RetryLater("later")

    assert after_reply(an_order(), reply).last_reply is VenueReply.RETRY_LATER
    assert after_reply(refused, reply, is_first_post=False).last_reply is VenueReply.RETRY_LATER
    assert after_reply(an_order(), reply, is_first_post=False) == an_order()
    assert after_reply(unknown, reply, is_first_post=False) == unknown


@pytest.mark.parametrize(("side", "shares", "usdc"), [(Side.BUY, 10, 5), (Side.SELL, 5, 10)])
def test_a_buyer_gives_money_and_takes_shares_and_a_seller_the_reverse(
    side: Side, shares: int, usdc: int
) -> None:
    reply = accepted("matched", making=5, taking=10, trade_ids=("venue-1",))

    order = after_reply(an_order(side=side), reply)

    assert (order.shares, order.usdc) == (shares, usdc)


@pytest.mark.parametrize(
    ("order", "is_sent_again"),
    [
        (an_order(state=OrderState.UNKNOWN), True),
        (an_order(state=OrderState.UNKNOWN, expires_at=NOON), False),
        *(
            (an_order(state=OrderState.UNKNOWN, last_reply=reply), False)
            for reply in VenueReply
            if reply is not VenueReply.NO_REPLY
        ),
        (an_order(state=OrderState.KILLED), False),
    ],
)
def test_the_same_bytes_are_sent_again_only_before_they_expire_and_without_any_reply(
    order: Order, *, is_sent_again: bool
) -> None:
    assert is_worth_sending_again(order, now=NOON) is is_sent_again


@pytest.mark.parametrize(
    ("ended", "may_pass"),
    [
        ({"state": OrderState.CONFIRMED}, True),
        ({"state": OrderState.FAILED}, True),
        ({"state": OrderState.WITHDRAWN}, True),
        ({"state": OrderState.KILLED, "last_reply": VenueReply.KILLED}, True),
        ({"state": OrderState.KILLED, "last_reply": VenueReply.ARRIVED}, False),
        ({"state": OrderState.KILLED, "last_reply": VenueReply.NO_REPLY}, False),
        ({"state": OrderState.REJECTED, "reason": "balance_too_low: not enough"}, True),
        ({"state": OrderState.REJECTED, "reason": "banned: address banned"}, False),
        ({"state": OrderState.REJECTED, "reason": "something else"}, False),
        ({"state": OrderState.UNKNOWN}, False),
        ({"state": OrderState.MATCHED}, False),
        ({"state": OrderState.SIGNED}, False),
    ],
)
def test_what_stopped_a_final_order_may_pass_unless_its_reason_is_final(
    ended: dict[str, Any], may_pass: bool
) -> None:
    assert obstacle_may_pass(replace(an_order(), **ended)) is may_pass
