"""What a leader holds more than his known trades explain is bought once by those who mirror him."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preflight.decisions.levels import (
    HeldToken,
    IntendCopy,
    MoveBase,
    Nothing,
    Reading,
    Step,
    Wait,
    mirrors,
)
from services.preflight.decisions.mirror import NOTHING_KNOWN, decide_entry, is_unknown
from services.preflight.decisions.reconciliation import decide
from shared.domain.follows import Mode
from shared.domain.money import MIN_BUY_USDC, Side, cost_floor
from shared.domain.terms import EntryMode
from shared.messages.intents import CopyCause
from tests.builders import NOON, TOKEN, a_follow, seconds, shares, usdc
from tests.unit.preflight.test_reconciliation import BASE, a_trade, reading

FOLLOW = a_follow(entries=EntryMode.MIRROR)
HALF = Decimal("0.50")


def token(**changes: Any) -> HeldToken:
    unknown = HeldToken(
        follow=FOLLOW,
        token_id=TOKEN,
        leader_token_id=TOKEN,
        shares=0,
        is_under_way=False,
        base=NOTHING_KNOWN,
    )
    return replace(unknown, **changes)


def decided(
    held: HeldToken,
    seen: Reading,
    *,
    price: Decimal = HALF,
    mode: Mode = Mode.ACTIVE,
    act_after: timedelta = timedelta(0),
) -> Step:
    return decide_entry(
        held,
        seen,
        price=price,
        mode=mode,
        pending=None,
        act_after=act_after,
        now=seen.block_at,
    )


def test_at_the_start_everything_that_he_holds_is_bought_by_the_terms() -> None:
    """1,000 shares at 0.50 are worth 500: of which 10 % are copied."""
    step = decided(token(), reading(1000))

    assert isinstance(step, IntendCopy)
    intent = step.intent
    assert (intent.cause, intent.side, intent.leader_price) == (
        CopyCause.MIRRORED,
        Side.BUY,
        None,
    )
    assert (intent.usdc, intent.shares, intent.leader_shares) == (
        usdc(50),
        shares(100),
        shares(1000),
    )
    assert step == decided(token(), reading(1000))


def test_what_his_trades_explain_is_not_bought_again() -> None:
    explained = token(trades=[a_trade(Side.BUY, 1000)])

    assert isinstance(decided(explained, reading(1000, mined_in={"0x01": 120})), MoveBase)


def test_a_gap_after_the_base_is_bought() -> None:
    step = decided(token(base=BASE, shares=shares(50)), reading(1400))

    assert isinstance(step, IntendCopy)
    assert (step.intent.leader_shares, step.intent.leader_held_shares) == (
        shares(400),
        shares(1000),
    )


def test_a_later_trade_does_not_hide_what_is_still_to_be_bought() -> None:
    """Its copy moves the base, which keeps the part that no trade explains apart."""
    held = token(base=BASE, shares=shares(50), trades=[a_trade(Side.BUY, 100)])
    seen = reading(1500, mined_in={"0x01": 120})

    step = decide(
        held,
        seen,
        mode=Mode.ACTIVE,
        pending=None,
        act_after=timedelta(0),
        now=seen.block_at,
    )

    assert isinstance(step, MoveBase)
    assert step.base.leader_shares == shares(1100)


def test_an_increase_waits_for_the_trade_that_may_explain_it() -> None:
    step = decided(token(), reading(1000), act_after=seconds(60))

    assert isinstance(step, Wait)
    assert step.until == NOON + seconds(120)


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"is_under_way": True}, Mode.ACTIVE),
        ({}, Mode.REDUCING),
        ({}, Mode.CLOSING),
        ({}, Mode.HALTED),
        ({"trades": [a_trade(Side.BUY, 1)]}, Mode.ACTIVE),
    ],
)
def test_nothing_is_bought_while_that_could_be_wrong(changes: dict[str, Any], mode: Mode) -> None:
    assert isinstance(decided(token(**changes), reading(1000), mode=mode), Nothing)


def test_only_active_follows_with_that_term_mirror() -> None:
    assert mirrors(FOLLOW)
    assert not mirrors(a_follow())
    assert not mirrors(replace(FOLLOW, active=False))


def test_only_a_token_that_the_follow_never_dealt_with_is_unknown() -> None:
    assert is_unknown(token(base=None))
    assert not is_unknown(token(base=None, shares=shares(1)))
    assert not is_unknown(token(base=None, trades=[a_trade()]))


@given(
    base=st.integers(0, 10**12),
    now_held=st.integers(0, 10**12),
    price=st.decimals("0.001", "0.999", places=3),
)
def test_an_entry_is_never_for_more_than_the_increase_by_the_terms(
    base: int, now_held: int, price: Decimal
) -> None:
    seen = replace(reading(0), leader_shares=now_held)
    step = decided(token(base=replace(BASE, leader_shares=base)), seen, price=price)

    worth = cost_floor(max(0, now_held - base), price)
    assert isinstance(step, IntendCopy) is (worth >= MIN_BUY_USDC)
    if isinstance(step, IntendCopy):
        assert step.intent.usdc == FOLLOW.copy_usdc(worth)
