"""What a leader holds against what his known trades explain, and the exit that is missing."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preflight.decisions.exits import proportional_shares
from services.preflight.decisions.expectations import SETTLES_WITHIN, expected_shares
from services.preflight.decisions.levels import (
    Base,
    HeldToken,
    IntendCopy,
    JudgedTrade,
    MoveBase,
    Nothing,
    PendingDifference,
    Reading,
    Step,
    Wait,
    with_trades,
)
from services.preflight.decisions.reconciliation import (
    decide,
    first_base,
    missing_exit,
)
from services.preflight.decisions.superseded import sold_all_marker
from shared.domain.follows import Mode
from shared.domain.money import MIN_REMAINDER_SHARES, ROUNDING_TOLERANCE_SHARES, Side
from shared.domain.terms import EndMode, ExitMode
from shared.messages.intents import CopyCause
from tests.builders import NOON, TOKEN, a_follow, seconds, shares

MINUTE = timedelta(minutes=1)
BASE = Base(leader_shares=shares(1000), block_number=100, accounted_at=NOON)


def a_trade(side: Side = Side.SELL, amount: int = 400, **changes: Any) -> JudgedTrade:
    trade = JudgedTrade(
        transaction_hash="0x01",
        leader_token_id=TOKEN,
        side=side,
        leader_shares=shares(amount),
        leader_held_shares=None,
        judged_at=NOON + seconds(5),
        is_missed=False,
    )
    return replace(trade, **changes)


def held(**changes: Any) -> HeldToken:
    token = HeldToken(
        follow=a_follow(),
        token_id=TOKEN,
        leader_token_id=TOKEN,
        shares=shares(50),
        is_under_way=False,
        base=BASE,
    )
    return replace(token, **changes)


def reading(
    amount: int, *, at: int = 60, mined_in: Mapping[str, int | None] | None = None
) -> Reading:
    """So many shares, ``at`` seconds after noon."""
    return Reading(
        block_number=100 + at,
        block_at=NOON + seconds(at),
        leader_shares=shares(amount),
        mined_in=mined_in or {},
    )


def decided(
    token: HeldToken,
    seen: Reading,
    *,
    mode: Mode = Mode.ACTIVE,
    pending: PendingDifference | None = None,
    act_after: timedelta = timedelta(0),
) -> Step:
    return decide(
        token,
        seen,
        mode=mode,
        pending=pending,
        act_after=act_after,
        now=seen.block_at,
    )


def test_a_leader_who_holds_what_is_expected_causes_nothing() -> None:
    assert decided(held(), reading(1000)) == Nothing(why="")


def test_shares_that_no_trade_explains_do_not_raise_the_base() -> None:
    """The trade that brought them may be known later: then it is expected, and not before."""
    assert decided(held(), reading(1700)) == Nothing(why="")


def test_what_is_missing_is_sold_in_proportion() -> None:
    """He held 1,000 and holds 600: the follow sells 40 % of its 50."""
    step = decided(held(), reading(600))

    assert isinstance(step, IntendCopy)
    intent, level = step.intent, step.intent.level
    assert (intent.cause, intent.side, intent.leader_price) == (
        CopyCause.RECONCILED,
        Side.SELL,
        None,
    )
    assert (intent.leader_shares, intent.leader_held_shares) == (shares(400), shares(1000))
    assert (intent.shares, proportional_shares(intent, held=shares(50))) == (shares(20), shares(20))
    assert intent.filled_at == NOON + seconds(60)
    assert level is not None
    assert (level.shares, level.block_number, level.base_block_number) == (shares(600), 160, 100)


def test_the_same_reading_gives_the_same_intent() -> None:
    steps = [decided(held(), reading(600)) for _ in range(2)]
    other = decided(held(), reading(600, at=90))

    assert isinstance(steps[0], IntendCopy)
    assert isinstance(other, IntendCopy)
    assert steps[0] == steps[1]
    assert steps[0].intent.intent_id != other.intent.intent_id


def test_trades_that_are_accounted_are_expected_and_move_the_base() -> None:
    sale, purchase = a_trade(), a_trade(Side.BUY, 100, transaction_hash="0x02")
    token = held(trades=[sale, replace(purchase, judged_at=NOON + seconds(9))])

    step = decided(token, reading(700, mined_in={"0x01": 110, "0x02": 120}))

    assert step == MoveBase(
        base=Base(leader_shares=shares(700), block_number=160, accounted_at=NOON + seconds(9))
    )


def test_what_left_him_before_a_sale_leaves_the_proportion_that_the_sale_copied() -> None:
    """Of 1,000 he moved 500 out, and sold half of the rest: the follow, which has sold half of its
    100, holds 25 as he holds 250.
    """
    sale = a_trade(Side.SELL, 250, leader_held_shares=shares(500))

    step = decided(held(trades=[sale]), reading(250, mined_in={"0x01": 120}))

    assert isinstance(step, IntendCopy)
    assert step.intent.shares == shares(25)
    assert (step.intent.leader_shares, step.intent.leader_held_shares) == (
        shares(250),
        shares(500),
    )


def test_what_left_him_after_a_sale_counts_by_what_the_sale_left() -> None:
    """Of 1,000 he sold half, and moved 250 of the rest out."""
    sale = a_trade(Side.SELL, 500, leader_held_shares=shares(1000))

    step = decided(held(trades=[sale]), reading(250, mined_in={"0x01": 120}))

    assert isinstance(step, IntendCopy)
    assert step.intent.shares == shares(25)


def test_a_trade_that_the_base_shows_already_is_not_expected_again() -> None:
    """A purchase that was seen late, after its shares were read on the chain."""
    token = held(trades=[a_trade(Side.BUY, 500)])

    assert isinstance(decided(token, reading(1000, mined_in={"0x01": 99})), MoveBase)


def test_a_missed_sale_is_not_accounted() -> None:
    step = decided(held(trades=[a_trade(is_missed=True)]), reading(600, mined_in={"0x01": 110}))

    assert isinstance(step, IntendCopy)
    assert step.intent.leader_shares == shares(400)


def test_nothing_is_concluded_before_an_accounted_trade_is_settled() -> None:
    step = decided(held(trades=[a_trade()]), reading(1000, mined_in={"0x01": None}))

    assert step == Nothing(why="a trade of the leader is not settled yet")


def test_a_trade_that_was_settled_after_the_block_counts_in_a_later_reading() -> None:
    earlier = a_trade(Side.BUY, 100, transaction_hash="0x02", judged_at=NOON + seconds(9))
    token = held(trades=[a_trade(), earlier])

    first = decided(token, reading(1100, mined_in={"0x01": 161, "0x02": 120}))
    assert isinstance(first, MoveBase)
    assert first.base.accounted_at < NOON + seconds(5)
    again = decided(
        replace(token, base=first.base), reading(700, at=90, mined_in={"0x01": 161, "0x02": 120})
    )

    assert isinstance(again, MoveBase)
    assert (again.base.leader_shares, again.base.accounted_at) == (shares(700), NOON + seconds(9))
    assert decided(held(trades=[a_trade()]), reading(1000, mined_in={"0x01": 161})) == Nothing(
        why=""
    )


@pytest.mark.parametrize(
    ("side", "leader_shares", "expected"), [(Side.SELL, 600, 600), (Side.BUY, 1000, 1000)]
)
def test_a_trade_that_never_settled_only_lowers_what_is_expected(
    side: Side, leader_shares: int, expected: int
) -> None:
    """It may have been settled under another transaction, or never: neither sells twice."""
    late = int(SETTLES_WITHIN.total_seconds()) + 10
    token = held(trades=[a_trade(side)])

    assert expected_shares(BASE, token.trades, reading(0)) == shares(expected)
    assert isinstance(decided(token, reading(leader_shares, at=late)), MoveBase)
    assert isinstance(decided(token, reading(1000, at=late)), MoveBase)


def test_what_is_missing_is_acted_on_after_a_time_by_the_smallest_amount() -> None:
    first = decided(held(), reading(600), act_after=MINUTE)
    assert isinstance(first, Wait)
    assert first.until == NOON + seconds(120)

    second = decided(held(), reading(700, at=90), pending=first.pending, act_after=MINUTE)
    assert isinstance(second, Wait)
    assert second.until == first.until

    third = decided(held(), reading(500, at=120), pending=second.pending, act_after=MINUTE)
    assert isinstance(third, IntendCopy)
    assert third.intent.leader_shares == shares(300)


def test_a_new_trade_begins_the_wait_anew() -> None:
    first = decided(held(), reading(600), act_after=MINUTE)
    assert isinstance(first, Wait)
    token = held(trades=[a_trade(amount=100, judged_at=NOON + seconds(70))])

    again = decided(
        token,
        reading(500, at=120, mined_in={"0x01": 165}),
        pending=first.pending,
        act_after=MINUTE,
    )

    assert isinstance(again, Wait)
    assert again.until == NOON + seconds(180)


@pytest.mark.parametrize(
    ("changes", "mode", "why"),
    [
        ({"is_under_way": True}, Mode.ACTIVE, "an entry or exit is under way"),
        ({}, Mode.HALTED, "halted"),
    ],
)
def test_nothing_is_intended_where_no_exit_could_be_made(
    changes: dict[str, Any], mode: Mode, why: str
) -> None:
    assert decided(held(**changes), reading(0), mode=mode) == Nothing(why=why)


def test_a_follow_that_copies_no_exits_forgets_what_the_leader_holds_less() -> None:
    """It copies them again some day: then what he lost before is not sold."""
    token = held(follow=a_follow(exits=ExitMode.NONE))

    assert decided(token, reading(1000)) == Nothing(why="the follow copies no exits")
    step = decided(token, reading(600))
    assert isinstance(step, MoveBase)
    assert step.base.leader_shares == shares(600)


def test_a_follow_that_exits_at_the_first_sale_sells_everything() -> None:
    step = decided(held(follow=a_follow(exits=ExitMode.ALL)), reading(990))

    assert isinstance(step, IntendCopy)
    assert step.intent.shares == shares(50)


def test_an_exit_that_is_too_small_to_be_sold_waits_until_more_is_missing() -> None:
    """Of 50 shares a tenth of a share is 2 of the leader's 1,000."""
    assert decided(held(), reading(999)) == Nothing(why="")
    assert isinstance(decided(held(), reading(998)), IntendCopy)


def test_a_follow_that_still_holds_when_its_leader_is_out_sells_everything_once() -> None:
    """An exit ended unsold, or a late copy of an entry was filled after he had left."""
    out = replace(BASE, leader_shares=0)

    step = decided(held(base=out), reading(0))

    assert isinstance(step, IntendCopy)
    intent = step.intent
    assert intent.cause is CopyCause.LEADER_OUT
    assert proportional_shares(intent, held=shares(50)) == shares(50)
    done = replace(out, sold_all=sold_all_marker(intent))
    assert isinstance(decided(held(base=done), reading(0, at=90)), Nothing)
    assert isinstance(decided(held(base=done, shares=shares(30)), reading(0, at=90)), IntendCopy)


@pytest.mark.parametrize(
    ("changes", "mode", "closes"),
    [
        ({"active": False, "at_end": EndMode.CLOSE_OUT}, Mode.ACTIVE, True),
        ({"active": False, "at_end": EndMode.CLOSE_OUT, "exits": ExitMode.NONE}, Mode.ACTIVE, True),
        ({"active": False, "at_end": EndMode.FOLLOW}, Mode.ACTIVE, False),
        ({"at_end": EndMode.CLOSE_OUT}, Mode.ACTIVE, False),
        ({}, Mode.CLOSING, True),
        ({}, Mode.REDUCING, False),
    ],
)
def test_a_follow_that_is_closed_out_sells_all_that_it_holds(
    changes: dict[str, Any], mode: Mode, *, closes: bool
) -> None:
    step = decided(held(follow=a_follow(**changes)), reading(1000), mode=mode, act_after=MINUTE)

    assert isinstance(step, IntendCopy) is closes
    if isinstance(step, IntendCopy):
        assert (step.intent.cause, step.intent.shares) == (CopyCause.ENDED, shares(50))


def test_the_first_base_is_what_he_held_when_his_last_trade_was_accounted() -> None:
    token = held(base=None, trades=[a_trade(Side.BUY)])

    base = first_base(token, shares_then=shares(800), reading=reading(700, mined_in={"0x01": 130}))

    assert (base.leader_shares, base.block_number) == (shares(800), 130)


def test_a_sale_that_was_judged_before_the_newest_purchase_and_settled_after_it_counts() -> None:
    """Else the follow would sell again what it sold by copying that sale."""
    purchase = a_trade(Side.BUY, 800, judged_at=NOON + seconds(9))
    sale = a_trade(amount=300, transaction_hash="0x02")
    mined_in = {"0x01": 130, "0x02": 131}

    base = first_base(
        held(base=None, trades=[purchase]),
        shares_then=shares(800),
        reading=reading(500, mined_in=mined_in),
    )
    since = [trade for trade in (sale, purchase) if trade.judged_at > base.accounted_at]

    step = decided(held(base=base, trades=since), reading(500, at=90, mined_in=mined_in))
    assert isinstance(step, MoveBase)
    assert step.base.leader_shares == shares(500)


def test_a_first_base_that_is_not_known_any_more_is_what_he_holds_and_missed_sales() -> None:
    """Else a sale that was missed before the first comparison would be forgotten."""
    trades = [a_trade(Side.BUY), a_trade(amount=300, transaction_hash="0x02", is_missed=True)]
    seen = reading(700, mined_in={"0x01": 10, "0x02": 20})

    base = first_base(held(base=None, trades=trades), shares_then=None, reading=seen)

    assert (base.leader_shares, base.block_number) == (shares(1000), seen.block_number)
    assert isinstance(decided(held(base=base), reading(700, at=90)), IntendCopy)


AMOUNTS = st.integers(min_value=0, max_value=10**12)


@given(held_shares=AMOUNTS, expected=AMOUNTS, now_held=AMOUNTS)
def test_an_exit_by_level_sells_no_more_than_the_proportion(
    held_shares: int, expected: int, now_held: int
) -> None:
    sold = missing_exit(
        a_follow(), held=held_shares, expected=expected, missing=expected - now_held
    )

    assert 0 <= sold <= held_shares
    assert sold == 0 or sold >= MIN_REMAINDER_SHARES
    if now_held > ROUNDING_TOLERANCE_SHARES:
        assert sold * expected <= held_shares * max(0, expected - now_held)


@given(
    base=AMOUNTS,
    trades=st.lists(st.tuples(st.sampled_from(Side), AMOUNTS, st.integers(90, 160)), max_size=6),
)
def test_a_leader_of_whom_everything_is_known_is_never_reconciled(
    base: int, trades: list[tuple[Side, int, int]]
) -> None:
    """Whatever he traded, before or after the base, in any order: his balance is what is
    expected.
    """
    known: list[JudgedTrade] = []
    mined_in: dict[str, int | None] = {}
    balance = base
    for number, (side, amount, block) in enumerate(sorted(trades, key=lambda each: each[2])):
        after_base = block > BASE.block_number
        sold = min(amount, balance) if side is Side.SELL and after_base else amount
        known.append(
            a_trade(
                side,
                transaction_hash=f"0x{number}",
                leader_shares=sold,
                leader_held_shares=balance if side is Side.SELL else None,
                judged_at=NOON + seconds(number + 1),
            )
        )
        mined_in[f"0x{number}"] = block
        if after_base:
            balance += sold if side is Side.BUY else -sold
    seen = Reading(
        block_number=160, block_at=NOON + MINUTE, leader_shares=balance, mined_in=mined_in
    )
    token = held(base=replace(BASE, leader_shares=base), trades=known)

    step = decided(token, seen)

    if balance > ROUNDING_TOLERANCE_SHARES:
        assert isinstance(step, MoveBase if known else Nothing)
    else:
        assert isinstance(step, IntendCopy)
        assert step.intent.cause is CopyCause.LEADER_OUT
    assert expected_shares(replace(BASE, leader_shares=base), known, seen) == balance


def test_the_newest_trade_says_which_token_the_leader_trades() -> None:
    """A follow that bought the complementary outcome before, and buys the leader's own now."""
    older = a_trade(Side.BUY, 5, leader_token_id="7", judged_at=NOON)
    newer = a_trade(Side.BUY, 6, leader_token_id=TOKEN, judged_at=NOON + seconds(1))
    counter = held(leader_token_id="7")

    changed = with_trades(counter, [newer, older])

    assert (changed.leader_token_id, changed.base, changed.trades) == (TOKEN, None, (newer,))
    assert with_trades(counter, [older]) == replace(counter, trades=(older,))
    assert with_trades(counter, []) == counter
