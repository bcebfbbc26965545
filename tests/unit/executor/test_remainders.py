"""The remainder of an exit is intended again: once per order, never more than was left, and at
growing intervals.
"""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.executor.decisions import UnfinishedExit, build_remainder, is_remainder_due
from shared.domain.money import Side, cost_floor
from shared.messages.intents import Intent
from shared.messages.orders import OrderState
from tests.builders import NOON, an_intent, seconds, shares
from tests.orders import an_order

DELAY = seconds(5)


def unfinished(
    *,
    requested: int = shares(10),
    sold: int = shares(4),
    intent: Intent | None = None,
    signed_after_s: int = 1,
) -> UnfinishedExit:
    intent = intent or an_intent(side=Side.SELL)
    order = an_order(
        intent_id=intent.intent_id,
        side=Side.SELL,
        state=OrderState.CONFIRMED,
        shares=sold,
        signed_at=intent.filled_at + seconds(signed_after_s),
    )
    return UnfinishedExit(order=order, intent=intent, requested_shares=requested)


def test_a_remainder_is_an_intent_of_its_own_that_names_the_one_it_continues() -> None:
    exit_ = unfinished()

    remainder = build_remainder(exit_, now=NOON)

    assert remainder.shares == shares(6)
    assert remainder.usdc == cost_floor(shares(6), exit_.intent.leader_price)
    assert remainder.continues == exit_.intent.intent_id != remainder.intent_id
    assert remainder.intent_id == build_remainder(exit_, now=NOON + seconds(100)).intent_id
    assert (remainder.seen_at, remainder.intended_at) == (NOON, NOON)


def test_the_age_of_a_remainder_is_still_counted_from_the_leaders_trade() -> None:
    exit_ = unfinished()

    remainder = build_remainder(exit_, now=NOON + seconds(100))

    changed = {"intent_id", "continues", "usdc", "shares", "seen_at", "intended_at"}
    assert remainder.model_dump(exclude=changed) == exit_.intent.model_dump(exclude=changed)


def test_a_remainder_waits_for_the_delay_or_for_the_age_of_the_copy_if_that_is_longer() -> None:
    young, old = unfinished(signed_after_s=1), unfinished(signed_after_s=40)

    for exit_, wait in ((young, DELAY), (old, seconds(40))):
        due = exit_.order.signed_at + wait
        assert is_remainder_due(exit_, now=due, delay=DELAY)
        assert not is_remainder_due(exit_, now=due - timedelta(microseconds=1), delay=DELAY)


@given(
    st.integers(min_value=shares(1), max_value=shares(100)),
    st.lists(st.integers(min_value=0, max_value=100), max_size=12),
)
def test_however_many_remainders_follow_no_more_is_sold_than_requested_and_no_id_is_used_twice(
    requested: int, percents: list[int]
) -> None:
    exit_, sold, ids = unfinished(requested=requested, sold=0), 0, set()
    for percent in percents:
        part = exit_.requested_shares * percent // 100
        sold += part
        if part == exit_.requested_shares:
            break
        ids.add(exit_.intent.intent_id)
        exit_ = replace(exit_, order=replace(exit_.order, shares=part))
        remainder = build_remainder(exit_, now=NOON)
        assert remainder.intent_id not in ids
        exit_ = unfinished(requested=remainder.shares, sold=0, intent=remainder)

    assert sold <= requested


def test_before_an_exit_expires_only_a_few_orders_are_made_for_it() -> None:
    exit_, orders = unfinished(signed_after_s=1), 1
    while (age := exit_.order.signed_at - exit_.intent.filled_at) < timedelta(minutes=10):
        exit_ = unfinished(signed_after_s=int((age + max(DELAY, age)).total_seconds()))
        orders += 1

    assert orders <= 10
