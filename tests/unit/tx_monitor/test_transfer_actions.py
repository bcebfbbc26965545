"""What is sent in a round: the same bytes, a replacement of the same nonce, or nothing."""

from dataclasses import replace
from typing import Any

import pytest

from services.tx_monitor.decisions.actions import (
    AT_CAP,
    INVALID,
    NO_GAS_MONEY,
    OVERDUE,
    STUCK,
    TOO_MANY_BUMPS,
    choose_action,
)
from services.tx_monitor.decisions.policy import GWEI, Policy
from services.tx_monitor.decisions.transfers import (
    CLOSED_STATES,
    MINED_STATES,
    Action,
    Attempt,
    AttemptKind,
    Fees,
    Replace,
    Resend,
    Seen,
    Sending,
    Transfer,
    Wait,
)
from shared.messages.transfers import TransferState
from tests.unit.tx_monitor.transfer_facts import (
    HEAD,
    POLICY,
    SECOND,
    START,
    build_attempt,
    build_block,
    build_seen,
    build_sent,
)

TRANSFER, CANCEL = AttemptKind.TRANSFER, AttemptKind.CANCEL
LATER = {"head": build_block(HEAD + 5)}
"""Five blocks after the attempts of the tests were signed."""
DEADLINE = START + 8 * SECOND


def send_all(transfer: Transfer, **changes: Any) -> dict[str, Sending]:
    sending = replace(Sending(sent_at=START, sent_at_block=HEAD), **changes)
    return {each.tx_hash: sending for each in transfer.attempts}


def choose(
    transfer: Transfer,
    seen: Seen,
    sendings: dict[str, Sending] | None = None,
    *,
    seconds: int = 8,
    policy: Policy = POLICY,
) -> Action:
    sent = send_all(transfer) if sendings is None else sendings
    return choose_action(transfer, seen, sent, now=START + seconds * SECOND, policy=policy)


def have(transfer: Transfer, **changes: Any) -> Seen:
    """A pool that has all of its attempts."""
    return build_seen(pooled=frozenset(each.tx_hash for each in transfer.attempts), **changes)


@pytest.mark.parametrize("state", sorted(CLOSED_STATES | MINED_STATES | {TransferState.QUEUED}))
def test_nothing_is_sent_of_what_is_in_a_block_or_closed(state: TransferState) -> None:
    """Invariant I3."""
    transfer = replace(build_sent(send_before=START), state=state)

    assert choose(transfer, build_seen(**LATER), {}, seconds=99) == Wait()


def test_nothing_is_sent_once_the_nonce_is_used_for_good_and_it_is_a_concern() -> None:
    transfer = build_sent(send_before=START)

    action = choose(transfer, build_seen(nonce=8, final_nonce=8), {}, seconds=99)

    assert isinstance(action, Resend)
    assert (action.attempts, "used for good" in action.concern) == ((), True)


def test_after_a_restart_everything_is_sent_again_the_highest_fee_first() -> None:
    """Invariant I1: a sending that was not recorded may have been made, or not."""
    transfer = build_sent(TRANSFER, TRANSFER, TRANSFER)
    first, second, third = transfer.attempts

    assert choose(transfer, have(transfer, **LATER), {}, seconds=99) == Resend(
        (third, second, first)
    )


def test_once_it_is_cancelled_only_the_cancelling_attempts_are_sent_again() -> None:
    transfer = build_sent(TRANSFER, CANCEL, CANCEL)
    _, second, third = transfer.attempts

    assert choose(transfer, build_seen(), {}) == Resend((third, second))


@pytest.mark.parametrize(
    ("seconds", "blocks", "is_pooled", "is_sent"),
    [
        (7, 2, False, False),
        (7, 3, False, True),
        (29, 3, True, False),
        (29, 4, True, False),
        (30, 0, True, True),
    ],
)
def test_the_newest_bytes_are_sent_again(
    seconds: int, blocks: int, is_pooled: bool, is_sent: bool
) -> None:
    """Invariant I9: after three blocks where no pool has them, and every 30 seconds."""
    transfer = build_sent(TRANSFER, TRANSFER)
    pooled = {transfer.attempts[0].tx_hash}
    if is_pooled:
        pooled.add(transfer.attempts[1].tx_hash)
    seen = build_seen(head=build_block(HEAD + blocks), pooled=frozenset(pooled))

    action = choose(transfer, seen, seconds=seconds)

    assert action == (Resend(transfer.attempts[1:]) if is_sent else Wait())


@pytest.mark.parametrize(
    ("seconds", "blocks", "base_fee", "is_due"),
    [
        (8, 5, 50, True),
        (7, 5, 50, False),
        (8, 4, 50, False),
        (0, 0, 130, False),
        (0, 0, 131, True),
    ],
)
def test_fees_are_raised_when_it_is_not_mined_in_time(
    seconds: int, blocks: int, base_fee: int, is_due: bool
) -> None:
    transfer = build_sent()
    seen = have(transfer, head=build_block(HEAD + blocks), base_fee=base_fee * GWEI)

    action = choose(transfer, seen, seconds=seconds)

    raised = Fees(max_fee=149_500_000_000, tip=34_500_000_000)
    assert action == (Replace(TRANSFER, raised, STUCK) if is_due else Wait())


def test_fees_are_not_raised_for_a_transaction_that_waits_for_a_lower_nonce() -> None:
    transfer = build_sent(nonce=8)

    assert choose(transfer, have(transfer, nonce=7, **LATER)) == Wait()
    assert isinstance(choose(transfer, have(transfer, nonce=8, **LATER)), Replace)


@pytest.mark.parametrize("terms", [{}, {"send_before": START}])
def test_nothing_is_signed_while_a_node_says_that_the_nonce_is_used(terms: dict[str, Any]) -> None:
    """Invariant I6: any attempt may be in a block, and its receipt comes in the next round."""
    transfer = build_sent(**terms)

    assert choose(transfer, have(transfer, nonce=8, **LATER)) == Wait()


def test_a_cancelling_attempt_is_only_replaced_by_another() -> None:
    transfer = build_sent(TRANSFER, CANCEL)

    action = choose(transfer, have(transfer, **LATER))

    assert isinstance(action, Replace)
    assert action.kind is CANCEL


@pytest.mark.parametrize(
    ("sendings", "seconds"), [(None, 8), (None, 99), ({}, 8)], ids=["sent", "later", "restarted"]
)
def test_what_is_in_no_block_when_its_time_is_over_is_cancelled(
    sendings: dict[str, Sending] | None, seconds: int
) -> None:
    transfer = build_sent(send_before=DEADLINE)

    early = choose(transfer, have(transfer), seconds=7)
    action = choose(transfer, have(transfer), sendings, seconds=seconds)

    assert early == Wait()
    assert isinstance(action, Replace)
    assert (action.kind, action.reason) == (CANCEL, OVERDUE)
    assert action.fees.max_fee * 10 >= transfer.attempts[-1].fees.max_fee * 11


def test_what_can_never_be_valid_is_cancelled() -> None:
    transfer = build_sent()

    action = choose(transfer, build_seen(), send_all(transfer, is_refused=True), seconds=0)

    assert isinstance(action, Replace)
    assert (action.kind, action.reason) == (CANCEL, INVALID)


def test_a_refused_cancel_is_replaced_no_faster_than_others() -> None:
    transfer = build_sent(TRANSFER, CANCEL)
    sendings = send_all(transfer, is_refused=True)

    assert choose(transfer, have(transfer), sendings) == Wait()
    assert isinstance(choose(transfer, have(transfer, **LATER), sendings), Replace)


@pytest.mark.parametrize("seconds", [8, 31])
def test_without_gas_money_no_fee_is_raised(seconds: int) -> None:
    """Invariant I12: the same bytes are sent again."""
    transfer = build_sent()
    needed = 120_000 * 149_500_000_000
    due = transfer.attempts if seconds > 30 else ()

    poor = choose(transfer, have(transfer, gas_balance=needed - 1, **LATER), seconds=seconds)
    rich = choose(transfer, have(transfer, gas_balance=needed, **LATER), seconds=seconds)

    assert poor == Resend(due, NO_GAS_MONEY)
    assert isinstance(rich, Replace)


def test_a_cancel_needs_little_gas_money_and_without_it_the_old_bytes_are_not_sent() -> None:
    """Invariant I12: they would be mined after their time as soon as there is money."""
    transfer = build_sent(send_before=START)
    needed = 21_000 * 149_500_000_000

    poor = choose(transfer, build_seen(gas_balance=needed - 1), {}, seconds=99)
    rich = choose(transfer, build_seen(gas_balance=needed), {}, seconds=99)

    assert poor == Resend((), NO_GAS_MONEY)
    assert isinstance(rich, Replace)


def build_at(max_fee: int, **terms: Any) -> Transfer:
    attempt: Attempt = build_attempt(fees=Fees(max_fee=max_fee * GWEI, tip=30 * GWEI))
    return replace(build_sent(**terms), attempts=(attempt,))


def test_at_the_cap_the_last_bytes_are_sent_again() -> None:
    """Invariant I5."""
    transfer = build_at(1_400)

    assert choose(transfer, have(transfer, **LATER)) == Resend((), AT_CAP)
    assert choose(transfer, build_seen(**LATER)) == Resend(transfer.attempts, AT_CAP)
    assert choose(transfer, have(transfer), seconds=31) == Resend(transfer.attempts)


def test_a_cancel_may_exceed_the_cap_of_a_transfer() -> None:
    transfer = build_at(1_500, send_before=START)

    action = choose(transfer, have(transfer))

    assert isinstance(action, Replace)
    assert action.fees.max_fee == 1_725 * GWEI


def test_where_even_the_cap_of_a_cancel_is_too_low_the_bytes_are_sent_again() -> None:
    """The nonce has to be used by something: all later ones wait for it."""
    transfer = build_at(1_500, send_before=START)
    policy = Policy(cancel_cap=1_500 * GWEI)

    assert choose(transfer, build_seen(**LATER), policy=policy) == Resend(transfer.attempts, AT_CAP)


@pytest.mark.parametrize("kind", AttemptKind)
def test_after_eight_bumps_the_last_bytes_are_sent_again(kind: AttemptKind) -> None:
    transfer = build_sent(TRANSFER, *[kind] * 8)
    if kind is CANCEL:
        assert isinstance(choose(transfer, have(transfer, **LATER)), Replace)
        transfer = build_sent(TRANSFER, *[kind] * 9)

    assert choose(transfer, have(transfer, **LATER)) == Resend((), TOO_MANY_BUMPS)
    assert choose(transfer, have(transfer, **LATER), seconds=31) == Resend(
        transfer.attempts[-1:], TOO_MANY_BUMPS
    )


def test_after_eight_bumps_it_can_still_be_cancelled() -> None:
    transfer = build_sent(*[TRANSFER] * 9, send_before=START)

    assert isinstance(choose(transfer, have(transfer)), Replace)
