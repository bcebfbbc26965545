"""How much of a follow's shares an exit sells, and how it goes on after each attempt."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preflight.decisions import (
    Exit,
    ExitState,
    FollowPosition,
    after_order,
    after_verdict,
    build_continuation,
    open_exit,
)
from services.preflight.decisions.exits import MAX_WAIT, NOTHING_TO_SELL, PASSING_REFUSALS
from shared.domain.ids import continuation_id
from shared.domain.money import MIN_REMAINDER_SHARES, ROUNDING_TOLERANCE_SHARES, Side
from shared.domain.terms import ExitMode
from shared.messages.intents import (
    CopyCause,
    Intent,
    LeaderLevel,
)
from shared.messages.orders import OrderReported, OrderState
from shared.messages.refusals import Refusal
from tests.builders import NOON, an_intent, an_outcome, approved, refused, seconds, shares

DELAY = seconds(5)
EXPIRY = NOON + seconds(600)


def a_sale(**overrides: Any) -> Intent:
    """The leader sells 50 of his 100 shares."""
    fields = {
        "side": Side.SELL,
        "leader_shares": shares(50),
        "leader_held_shares": shares(100),
        "filled_at": NOON,
    }
    return an_intent(**fields | overrides)


def opened(
    position: FollowPosition, *, mode: ExitMode = ExitMode.PROPORTIONAL, **intent: Any
) -> Exit:
    return open_exit(a_sale(**intent), position, mode=mode, expires_at=EXPIRY)


def an_exit(**overrides: Any) -> Exit:
    base = Exit(
        intent=a_sale(), base_shares=shares(10), shares=shares(10), attempts=1, expires_at=EXPIRY
    )
    return replace(base, **overrides)


def a_report(**overrides: Any) -> OrderReported:
    fields = {"side": Side.SELL, "shares": 0, "usdc": 0, "fee_usdc": 0, "obstacle_may_pass": True}
    return an_outcome(**fields | overrides)


def test_an_exit_by_level_sells_no_more_than_what_was_compared() -> None:
    """The follow held 40 as its leader was found to hold half of what was expected, and was about
    to buy 60 that the half does not concern.
    """
    level = LeaderLevel(shares=shares(50), block_number=160, base_block_number=100)
    position = FollowPosition(held_shares=shares(40), open_entries=("e1",))

    first = opened(position, cause=CopyCause.RECONCILED, level=level, shares=shares(20))
    settled = replace(
        position,
        exit=first,
        held_shares=shares(100),
        open_entries=(),
        bought_by_entry={"e1": shares(60)},
    )

    assert first.shares is None
    assert opened(settled).shares == shares(20)
    assert opened(replace(settled, own_shares=shares(5))).shares == shares(25)


@pytest.mark.parametrize(
    ("sold", "leader_held", "sells"),
    [
        (shares(50), shares(100), shares(5)),
        (shares(100), shares(100), shares(10)),
        (shares(1), shares(3), 3_333_333),
        (shares(100) - ROUNDING_TOLERANCE_SHARES, shares(100), shares(10)),
        (shares(20_000), shares(20_000), shares(10)),
    ],
)
def test_an_exit_sells_the_proportion_that_the_leader_sold_of_his(
    sold: int, leader_held: int, sells: int
) -> None:
    exit_ = opened(
        FollowPosition(held_shares=shares(10)), leader_shares=sold, leader_held_shares=leader_held
    )

    assert exit_.shares == sells


def test_the_leaders_price_does_not_change_what_an_exit_sells() -> None:
    """He buys 20,000 at 0.50 and sells all at 0.90; the follow bought 200 for its maximum."""
    exit_ = opened(
        FollowPosition(held_shares=shares(200)),
        leader_shares=shares(20_000),
        leader_held_shares=shares(20_000),
        leader_price="0.90",
        usdc=shares(18_000),
        shares=shares(20_000),
    )

    assert exit_.shares == shares(200)


def test_an_exit_in_mode_all_sells_everything_at_the_first_sale() -> None:
    assert opened(FollowPosition(held_shares=shares(10)), mode=ExitMode.ALL).shares == shares(10)


def test_an_intent_from_before_holdings_were_kept_sells_what_it_says() -> None:
    held = FollowPosition(held_shares=shares(10))

    assert opened(held, leader_held_shares=None, shares=shares(4)).shares == shares(4)
    assert opened(held, leader_held_shares=None, shares=shares(40)).shares == shares(10)


def test_the_followers_own_shares_are_sold_only_where_the_position_has_them() -> None:
    """They are not in it unless a setting allows to sell them."""
    assert opened(FollowPosition(held_shares=shares(10))).shares == shares(5)
    assert opened(FollowPosition(held_shares=shares(10), own_shares=shares(30))).shares == shares(
        20
    )
    assert opened(FollowPosition()).has_nothing_to_sell


def test_two_clips_in_a_row_sell_all_where_the_leader_sells_all() -> None:
    """The leader sells 50 of 100 and then 50 of 50, before the first exit is settled."""
    first = opened(FollowPosition(held_shares=shares(10)))
    second = open_exit(
        a_sale(intent_id="2b" * 16, leader_held_shares=shares(50)),
        FollowPosition(held_shares=shares(10), reserved_shares=shares(5), open_exits=(first,)),
        mode=ExitMode.PROPORTIONAL,
        expires_at=EXPIRY,
    )

    assert (first.shares, second.shares) == (shares(5), shares(5))


def test_an_exit_waits_for_the_entries_that_were_open_and_sells_what_they_bring() -> None:
    first_judged = opened(FollowPosition(open_entries=("entry",)))
    assert (first_judged.shares, first_judged.has_nothing_to_sell) == (None, False)

    def judged_later(bought: int | None, *, held: int) -> int | None:
        position = FollowPosition(
            held_shares=held, exit=first_judged, bought_by_entry={"entry": bought}
        )
        return opened(position).shares

    assert judged_later(None, held=0) is None
    assert judged_later(shares(8), held=shares(8)) == shares(4)
    assert judged_later(0, held=0) == 0


def test_shares_that_the_follow_buys_later_do_not_belong_to_an_earlier_exit() -> None:
    """The leader buys, sells everything and buys again; the exit is sized after the second buy."""
    waiting = opened(FollowPosition(open_entries=("first",)), leader_held_shares=shares(50))
    position = FollowPosition(
        held_shares=shares(20), exit=waiting, bought_by_entry={"first": shares(8)}
    )

    assert opened(position).shares == shares(8)


def test_an_exit_behind_another_that_waits_takes_only_what_that_leaves() -> None:
    """Both wait for the same entry: the leader sells half, and then the other half."""
    first = opened(FollowPosition(open_entries=("entry",)))
    second = open_exit(
        a_sale(intent_id="2b" * 16, leader_held_shares=shares(50)),
        FollowPosition(open_entries=("entry",), open_exits=(first,)),
        mode=ExitMode.PROPORTIONAL,
        expires_at=EXPIRY,
    )
    assert (first.shares, second.shares, second.awaited_exits) == (None, None, (first.exit_id,))

    def sized(size_of_first: int | None) -> int | None:
        position = FollowPosition(
            held_shares=shares(10),
            exit=second,
            bought_by_entry={"entry": shares(10)},
            size_by_exit={first.exit_id: size_of_first},
        )
        return open_exit(
            second.intent, position, mode=ExitMode.PROPORTIONAL, expires_at=EXPIRY
        ).shares

    assert (sized(None), sized(shares(5))) == (None, shares(5))


def test_a_size_that_is_known_does_not_change() -> None:
    known = an_exit(shares=shares(7))

    assert opened(FollowPosition(held_shares=shares(100), exit=known)) is known


def test_an_approved_attempt_is_under_way() -> None:
    after = after_verdict(an_exit(attempts=0), approved(), retry_delay=DELAY)

    assert (after.state, after.attempts, after.next_attempt_at) == (ExitState.OPEN, 1, None)


@pytest.mark.parametrize("reason", Refusal)
def test_every_refusal_ends_an_exit_or_is_an_obstacle_that_may_pass(reason: Refusal) -> None:
    after = after_verdict(
        an_exit(), refused(reason=reason, occurred_at=NOON + seconds(1)), retry_delay=DELAY
    )

    if reason in PASSING_REFUSALS:
        assert after.state is ExitState.OPEN
        assert after.next_attempt_at == NOON + seconds(6)
    else:
        missed = ExitState.MISSED if reason is Refusal.TRADE_TOO_OLD else ExitState.UNSOLD
        assert after.state is (ExitState.DONE if reason in NOTHING_TO_SELL else missed)
        assert after.next_attempt_at is None
    assert after.reason == reason.value


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (seconds(0), DELAY),
        (seconds(20), seconds(20)),
        (seconds(300), MAX_WAIT),
        (seconds(590), seconds(10)),
    ],
)
def test_the_waits_grow_with_the_age_and_end_at_the_expiry(age: timedelta, wait: timedelta) -> None:
    after = after_verdict(
        an_exit(), refused(reason=Refusal.EMPTY_BOOK, occurred_at=NOON + age), retry_delay=DELAY
    )

    assert after.next_attempt_at == NOON + age + wait


def test_an_exit_whose_time_is_over_is_unsold() -> None:
    late = refused(reason=Refusal.HALTED, occurred_at=EXPIRY)

    assert after_verdict(an_exit(), late, retry_delay=DELAY).state is ExitState.UNSOLD


def test_only_a_sale_that_was_too_old_at_its_first_attempt_is_missed() -> None:
    """A later attempt that is too old ends an exit that had its time, and an exit by level is
    intended again by the next reading.
    """
    for changes in ({"continues": "1a" * 16}, {"cause": CopyCause.RECONCILED}):
        late = refused(an_intent(side=Side.SELL, **changes), reason=Refusal.TRADE_TOO_OLD)

        assert after_verdict(an_exit(), late, retry_delay=DELAY).state is ExitState.UNSOLD


def test_an_exit_of_a_sale_that_may_have_been_pruned_is_not_missed() -> None:
    """Reconciliation would make it again."""
    replayed = refused(reason=Refusal.BEFORE_HISTORY)

    assert after_verdict(an_exit(), replayed, retry_delay=DELAY).state is ExitState.DONE


def test_an_exit_that_sold_everything_is_done() -> None:
    report = a_report(state=OrderState.CONFIRMED, shares=shares(10))

    after = after_order(an_exit(), report, now=NOON, retry_delay=DELAY)

    assert (after.state, after.sold_shares, after.unsold_shares) == (
        ExitState.DONE,
        shares(10),
        0,
    )


def test_what_attempts_sold_adds_up() -> None:
    report = a_report(state=OrderState.CONFIRMED, shares=shares(3))

    after = after_order(an_exit(sold_shares=shares(4)), report, now=NOON, retry_delay=DELAY)

    assert (after.sold_shares, after.unsold_shares) == (shares(7), shares(3))


@pytest.mark.parametrize(
    ("left", "state"),
    [(MIN_REMAINDER_SHARES, ExitState.OPEN), (MIN_REMAINDER_SHARES - 1, ExitState.DONE)],
)
def test_only_a_remainder_of_a_tenth_of_a_share_or_more_is_attempted_again(
    left: int, state: ExitState
) -> None:
    report = a_report(state=OrderState.CONFIRMED, shares=shares(10) - left)

    assert after_order(an_exit(), report, now=NOON, retry_delay=DELAY).state is state


@pytest.mark.parametrize("may_pass", [True, False])
def test_an_order_that_sold_nothing_is_attempted_again_where_its_obstacle_may_pass(
    may_pass: bool,
) -> None:
    report = a_report(state=OrderState.REJECTED, reason="off_tick: no", obstacle_may_pass=may_pass)

    after = after_order(an_exit(), report, now=NOON + seconds(7), retry_delay=DELAY)

    assert after.state is (ExitState.OPEN if may_pass else ExitState.UNSOLD)
    assert after.next_attempt_at == (NOON + seconds(14) if may_pass else None)
    assert after.reason == "off_tick: no"


def test_a_continuation_is_an_intent_of_its_own_for_what_is_left() -> None:
    exit_ = an_exit(sold_shares=shares(4), attempts=2)

    intent = build_continuation(exit_, now=NOON + seconds(9))

    assert intent.intent_id == continuation_id(exit_.exit_id, 2)
    assert (intent.continues, intent.shares, intent.usdc) == (
        exit_.exit_id,
        shares(6),
        shares(3),
    )
    assert (intent.filled_at, intent.seen_at) == (NOON, NOON + seconds(9))
    assert build_continuation(replace(exit_, attempts=3), now=NOON).intent_id != intent.intent_id


@given(
    held=st.integers(0, 10**12),
    clips=st.lists(st.integers(1, 10**9), min_size=1, max_size=8),
    leader_keeps=st.integers(0, 10**9),
)
def test_exits_in_a_row_never_promise_more_than_is_held_and_all_once_the_leader_is_out(
    held: int, clips: list[int], leader_keeps: int
) -> None:
    """No exit is settled before the last one is judged."""
    leader_held = sum(clips) + leader_keeps
    exits: tuple[Exit, ...] = ()
    for number, clip in enumerate(clips):
        exits += (
            open_exit(
                a_sale(
                    intent_id=f"{number:032x}", leader_shares=clip, leader_held_shares=leader_held
                ),
                FollowPosition(held_shares=held, open_exits=exits),
                mode=ExitMode.PROPORTIONAL,
                expires_at=EXPIRY,
            ),
        )
        leader_held -= clip

    promised = sum(each.unsold_shares for each in exits)
    assert promised <= held
    if leader_keeps == 0:
        assert promised == held
