"""What the demo shows and counts follows from what the topics told, in whatever order it was read."""

from decimal import Decimal
from itertools import permutations

import pytest

from cli.demo.copies import Copies, Told, is_end, refusal_lines
from shared.messages.intents import Refusal
from shared.messages.orders import OrderState
from tests.builders import (
    NOON,
    an_intent,
    an_outcome,
    approved,
    intended,
    quoted,
    refused,
    seconds,
    shares,
    usdc,
)

INTENT = an_intent().intent_id


def told(*messages: Told) -> Copies:
    copies = Copies()
    for message in messages:
        copies.on(message)
    return copies


LIFE = (intended(), quoted(), approved(), an_outcome(state=OrderState.MATCHED), an_outcome())


@pytest.mark.parametrize("order", list(permutations(LIFE)))
def test_the_topics_may_be_read_in_any_order(order: tuple[Told, ...]) -> None:
    copies = told(*order)

    assert copies.state(INTENT) == "confirmed"
    assert copies.pending() == {}
    assert copies.counts() == {"confirmed": 1}


def test_a_repetition_changes_nothing() -> None:
    once, twice = told(*LIFE), told(*LIFE, *LIFE)

    assert twice.counts() == once.counts()
    assert twice.verdicts == once.verdicts
    assert len(twice.recent(10)) == 1


def test_a_final_state_is_not_undone_by_an_older_report() -> None:
    copies = told(
        intended(),
        an_outcome(state=OrderState.KILLED, shares=0, usdc=0, fee_usdc=0),
        an_outcome(state=OrderState.UNKNOWN),
    )

    assert copies.state(INTENT) == "killed"


@pytest.mark.parametrize("state", [OrderState.SIGNED, OrderState.UNKNOWN, OrderState.MATCHED])
def test_an_order_that_is_not_final_is_pending(state: OrderState) -> None:
    assert told(intended(), approved(), an_outcome(state=state)).pending() == {INTENT: state.value}


def test_an_intent_that_nobody_judged_is_pending() -> None:
    assert told(intended(), quoted()).pending() == {INTENT: "intended"}
    assert told(intended(), approved()).pending() == {INTENT: "approved"}
    assert told(intended(), refused()).pending() == {}


def test_a_second_verdict_that_differs_is_remembered() -> None:
    copies = told(intended(), approved(), refused())

    assert copies.verdicts[INTENT].kind == "approved"
    assert copies.verdicts[INTENT].contradicted
    assert not told(intended(), approved(), approved()).verdicts[INTENT].contradicted


def test_another_reason_is_another_verdict() -> None:
    copies = told(refused(), refused(reason=Refusal.HALTED))

    assert copies.verdicts[INTENT].contradicted


def test_refusals_are_counted_by_reason() -> None:
    copies = told(
        refused(an_intent(intent_id="a")),
        refused(an_intent(intent_id="b")),
        refused(an_intent(intent_id="c"), reason=Refusal.HALTED),
    )

    assert list(refusal_lines(copies.refusals())) == ["slippage_too_high 2", "halted 1"]


def test_a_row_shows_the_fill_and_how_long_it_took() -> None:
    (row,) = told(
        intended(),
        approved(),
        an_outcome(occurred_at=NOON + seconds(2), shares=shares(8), usdc=usdc(6)),
    ).recent(5)

    assert (row.usdc, row.price, row.state, row.since_seen) == (
        usdc(6),
        Decimal("0.75"),
        "confirmed",
        seconds(2),
    )
    assert row.market == "Will it rain? Yes"


def test_a_row_without_a_fill_shows_the_wish_and_the_reason() -> None:
    (row,) = told(intended(), refused()).recent(5)

    assert (row.usdc, row.price, row.state) == (
        usdc(5),
        Decimal("0.50"),
        "refused: slippage_too_high",
    )


def test_the_newest_news_comes_first() -> None:
    copies = told(
        intended(intent_id="a"), intended(intent_id="b"), refused(an_intent(intent_id="a"))
    )

    assert [row.state for row in copies.recent(5)] == ["refused: slippage_too_high", "intended"]
    assert len(copies.recent(1)) == 1


def test_which_states_are_an_end() -> None:
    assert [
        state for state in ("intended", "approved", "signed", "unknown", "matched") if is_end(state)
    ] == []
    assert all(
        is_end(state)
        for state in ("refused", "confirmed", "killed", "rejected", "failed", "withdrawn")
    )
