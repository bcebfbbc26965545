"""The demo's view of copies follows from the published messages, in whatever order they come."""

from collections.abc import Mapping
from decimal import Decimal
from itertools import permutations

import pytest

from cli.demo.copies import Copies, CopyMessage, format_refusals, is_final, market_names
from shared.messages.orders import OrderState
from shared.messages.refusals import Refusal
from tests.builders import (
    NOON,
    TOKEN,
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


def copies_after(*messages: CopyMessage, market_names: Mapping[str, str] | None = None) -> Copies:
    copies = Copies(market_names)
    for message in messages:
        copies.add(message)
    return copies


LIFE = (intended(), quoted(), approved(), an_outcome(state=OrderState.MATCHED), an_outcome())


@pytest.mark.parametrize("order", list(permutations(LIFE)))
def test_the_topics_may_be_read_in_any_order(order: tuple[CopyMessage, ...]) -> None:
    copies = copies_after(*order)

    assert copies.state(INTENT) == "confirmed"
    assert copies.pending() == {}
    assert copies.count_states() == {"confirmed": 1}


def test_a_repetition_changes_nothing() -> None:
    once, twice = copies_after(*LIFE), copies_after(*LIFE, *LIFE)

    assert twice.count_states() == once.count_states()
    assert twice.verdicts == once.verdicts
    assert len(twice.recent(10)) == 1


def test_a_final_state_is_not_undone_by_an_older_report() -> None:
    copies = copies_after(
        intended(),
        an_outcome(state=OrderState.KILLED, shares=0, usdc=0, fee_usdc=0),
        an_outcome(state=OrderState.UNKNOWN),
    )

    assert copies.state(INTENT) == "killed"


@pytest.mark.parametrize("state", [OrderState.SIGNED, OrderState.UNKNOWN, OrderState.MATCHED])
def test_an_order_that_is_not_final_is_pending(state: OrderState) -> None:
    assert copies_after(intended(), approved(), an_outcome(state=state)).pending() == {
        INTENT: state.value
    }


def test_an_intent_without_a_verdict_is_pending() -> None:
    assert copies_after(intended(), quoted()).pending() == {INTENT: "intended"}
    assert copies_after(intended(), approved()).pending() == {INTENT: "approved"}
    assert copies_after(intended(), refused()).pending() == {}


def test_a_contradicting_second_verdict_is_kept() -> None:
    copies = copies_after(intended(), approved(), refused())

    assert copies.verdicts[INTENT].kind == "approved"
    assert copies.verdicts[INTENT].contradicted
    assert not copies_after(intended(), approved(), approved()).verdicts[INTENT].contradicted


def test_another_reason_is_another_verdict() -> None:
    copies = copies_after(refused(), refused(reason=Refusal.HALTED))

    assert copies.verdicts[INTENT].contradicted


def test_refusals_are_counted_by_reason() -> None:
    copies = copies_after(
        refused(an_intent(intent_id="a")),
        refused(an_intent(intent_id="b")),
        refused(an_intent(intent_id="c"), reason=Refusal.HALTED),
    )

    assert list(format_refusals(copies.count_refusals())) == ["slippage_too_high 2", "halted 1"]


def test_a_row_shows_the_fill_and_how_long_it_took() -> None:
    (row,) = copies_after(
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


WORLD = {
    "markets": [
        {"question": "Will it snow?", "token_ids": ["11", TOKEN], "outcomes": ["Yes", "No"]},
        {"question": "Who wins?", "token_ids": ["21", "22"], "outcomes": ["Red", "Blue"]},
    ]
}


def test_every_token_of_the_venue_has_the_name_of_its_market_and_outcome() -> None:
    assert market_names(WORLD) == {
        "11": "Will it snow? Yes",
        TOKEN: "Will it snow? No",
        "21": "Who wins? Red",
        "22": "Who wins? Blue",
    }


def test_a_copy_that_the_chain_made_known_shows_the_venues_market_name() -> None:
    from_chain = intended(title="", outcome="")
    (row,) = copies_after(from_chain, market_names=market_names(WORLD)).recent(5)

    assert row.market == "Will it snow? No"


def test_a_market_that_the_venue_does_not_list_has_no_name() -> None:
    (row,) = copies_after(intended(title="", outcome="")).recent(5)

    assert row.market == ""


def test_the_title_of_a_fill_is_shown_before_the_venues_name() -> None:
    (row,) = copies_after(intended(), market_names=market_names(WORLD)).recent(5)

    assert row.market == "Will it rain? Yes"


def test_a_row_without_a_fill_shows_the_intended_amount_and_the_reason() -> None:
    (row,) = copies_after(intended(), refused()).recent(5)

    assert (row.usdc, row.price, row.state) == (
        usdc(5),
        Decimal("0.50"),
        "refused: slippage_too_high",
    )


def test_the_copies_with_the_newest_messages_come_first() -> None:
    copies = copies_after(
        intended(intent_id="a"), intended(intent_id="b"), refused(an_intent(intent_id="a"))
    )

    assert [row.state for row in copies.recent(5)] == ["refused: slippage_too_high", "intended"]
    assert len(copies.recent(1)) == 1


def test_which_states_are_final() -> None:
    assert [
        state
        for state in ("intended", "approved", "signed", "unknown", "matched")
        if is_final(state)
    ] == []
    assert all(
        is_final(state)
        for state in ("refused", "confirmed", "killed", "rejected", "failed", "withdrawn")
    )
