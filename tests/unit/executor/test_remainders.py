"""What an exit did not sell goes around again: once for each order, never more than was left, and
less and less often.
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
from tests.unit.executor.test_decisions import an_order

AFTER = seconds(5)


def unfinished(
    *,
    asked: int = shares(10),
    sold: int = shares(4),
    intent: Intent | None = None,
    signed_after: int = 1,
) -> UnfinishedExit:
    intent = intent or an_intent(side=Side.SELL)
    order = an_order(
        intent_id=intent.intent_id,
        side=Side.SELL,
        state=OrderState.CONFIRMED,
        shares=sold,
        signed_at=intent.filled_at + seconds(signed_after),
    )
    return UnfinishedExit(order=order, intent=intent, requested_shares=asked)


def test_the_rest_is_an_intent_of_its_own_that_names_the_one_it_continues() -> None:
    exit_ = unfinished()

    rest = build_remainder(exit_, now=NOON)

    assert (rest.shares, rest.usdc) == (shares(6), cost_floor(shares(6), exit_.intent.leader_price))
    assert rest.continues == exit_.intent.intent_id != rest.intent_id
    assert rest.intent_id == build_remainder(exit_, now=NOON + seconds(100)).intent_id
    assert (rest.seen_at, rest.intended_at) == (NOON, NOON)


def test_its_age_is_still_that_of_the_leaders_trade() -> None:
    exit_ = unfinished()

    rest = build_remainder(exit_, now=NOON + seconds(100))

    changed = {"intent_id", "continues", "usdc", "shares", "seen_at", "intended_at"}
    assert rest.model_dump(exclude=changed) == exit_.intent.model_dump(exclude=changed)


def test_it_waits_for_the_book_and_each_time_as_long_again_as_the_copy_was_old() -> None:
    young, old = unfinished(signed_after=1), unfinished(signed_after=40)

    for exit_, wait in ((young, AFTER), (old, seconds(40))):
        due = exit_.order.signed_at + wait
        assert is_remainder_due(exit_, now=due, delay=AFTER)
        assert not is_remainder_due(exit_, now=due - timedelta(microseconds=1), delay=AFTER)


@given(
    st.integers(min_value=shares(1), max_value=shares(100)),
    st.lists(st.integers(min_value=0, max_value=100), max_size=12),
)
def test_however_often_it_goes_around_no_more_is_sold_than_was_asked_and_no_name_comes_twice(
    asked: int, percents: list[int]
) -> None:
    exit_, sold, names = unfinished(asked=asked, sold=0), 0, set()
    for percent in percents:
        part = exit_.requested_shares * percent // 100
        sold += part
        if part == exit_.requested_shares:
            break
        names.add(exit_.intent.intent_id)
        exit_ = replace(exit_, order=replace(exit_.order, shares=part))
        rest = build_remainder(exit_, now=NOON)
        assert rest.intent_id not in names
        exit_ = unfinished(asked=rest.shares, sold=0, intent=rest)

    assert sold <= asked


def test_within_the_time_of_an_exit_it_is_tried_a_few_times() -> None:
    exit_, orders = unfinished(signed_after=1), 1
    while (age := exit_.order.signed_at - exit_.intent.filled_at) < timedelta(minutes=10):
        exit_ = unfinished(signed_after=int((age + max(AFTER, age)).total_seconds()))
        orders += 1

    assert orders <= 10
