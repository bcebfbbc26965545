"""A transfer's state is what the chain shows of any of its attempts."""

from dataclasses import replace
from typing import Any

import pytest

from services.tx_monitor.decisions.progress import add_attempt, apply_seen
from services.tx_monitor.decisions.transfers import (
    CLOSED_STATES,
    AttemptKind,
    Fees,
    Seen,
    Transfer,
)
from shared.messages.transfers import TransferState
from tests.unit.tx_monitor.transfer_facts import (
    HEAD,
    POLICY,
    build_attempt,
    build_block,
    build_receipts,
    build_seen,
    build_sent,
    build_terms,
)

TRANSFER, CANCEL = AttemptKind.TRANSFER, AttemptKind.CANCEL
BLOCK = build_block(95)
IN_BLOCK = {BLOCK.number: BLOCK.hash}
FINAL_BLOCK = build_block(95)
NOT_FINAL = build_block(90)
EARLIER = build_block(94)


def apply(transfer: Transfer, seen: Seen) -> Transfer:
    return apply_seen(transfer, seen, policy=POLICY)


def mine(transfer: Transfer, number: int = 1, *, outcome: str = "moved") -> Transfer:
    """The transfer as mined in block 95, which is not final."""
    receipts = build_receipts(transfer, BLOCK, number, outcome=outcome)
    mined = apply(transfer, build_seen(receipts=receipts, finalized=NOT_FINAL))
    return replace(mined, is_reported=True)


def build_lost_seen(transfer: Transfer, **changes: Any) -> Seen:
    """Another transaction has used the nonce for good."""
    hashes = frozenset(each.tx_hash for each in transfer.attempts)
    values: dict[str, Any] = {"nonce": 8, "final_nonce": 8, "without_receipt": hashes}
    return build_seen(**(values | changes))


def look_up(transfer: Transfer, height: int) -> Transfer:
    """The transfer after a round without a trace of it, at this height of the chain."""
    return apply(transfer, build_lost_seen(transfer, head=build_block(height)))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_attempt_may_be_the_one_that_is_mined(number: int) -> None:
    """Invariant I4."""
    transfer = build_sent(TRANSFER, TRANSFER, TRANSFER)

    mined = mine(transfer, number)

    assert mined.state is TransferState.MINED
    assert mined.mined_hash == transfer.attempts[number - 1].tx_hash
    assert (mined.block_number, mined.block_hash) == (BLOCK.number, BLOCK.hash)
    assert (mined.nonce, mined.attempts) == (transfer.nonce, transfer.attempts)


@pytest.mark.parametrize(
    ("kinds", "number", "outcome", "mined", "final", "reason"),
    [
        ([TRANSFER], 1, "moved", "mined", "final", ""),
        ([TRANSFER], 1, "reverted", "reverted", "final_reverted", "the transaction reverted"),
        ([TRANSFER], 1, "nothing", "reverted", "final_reverted", "without the transfer"),
        ([TRANSFER, CANCEL], 1, "moved", "mined", "final", ""),
        ([TRANSFER, CANCEL], 2, "nothing", "cancel_mined", "cancelled", "given up"),
        ([TRANSFER, CANCEL], 1, "nothing", "reverted", "final_reverted", "without the transfer"),
    ],
)
def test_nothing_is_closed_before_its_block_is_final(
    kinds: list[AttemptKind], number: int, outcome: str, mined: str, final: str, reason: str
) -> None:
    """Invariants I7 and I10."""
    transfer = mine(build_sent(*kinds), number, outcome=outcome)
    receipts = build_receipts(transfer, BLOCK, number, outcome=outcome)
    still = apply(transfer, build_seen(receipts=receipts, canonical=IN_BLOCK, finalized=EARLIER))
    closed = apply(transfer, build_seen(receipts=receipts, canonical=IN_BLOCK, finalized=BLOCK))

    assert (transfer.state, still) == (mined, transfer)
    assert closed.state == final
    assert reason in closed.reason
    assert bool(closed.reason) == bool(reason)
    assert not closed.is_reported


@pytest.mark.parametrize(
    "seen",
    [
        build_seen(canonical=IN_BLOCK, finalized=None),
        build_seen(canonical={}, finalized=FINAL_BLOCK),
        build_seen(canonical=IN_BLOCK, finalized=build_block(94)),
    ],
)
def test_a_block_that_is_not_known_to_be_canonical_is_not_final(seen: Seen) -> None:
    """Invariants I8 and I15."""
    transfer = mine(build_sent())

    assert apply(transfer, seen) == transfer


def test_a_missing_receipt_alone_un_mines_nothing() -> None:
    """Invariant I8."""
    transfer = mine(build_sent())
    without = frozenset({transfer.mined_hash})

    assert apply(transfer, build_seen(without_receipt=without, nonce=7)) == transfer
    assert apply(transfer, build_seen(without_receipt=without, canonical=IN_BLOCK)) == transfer


def test_what_was_first_seen_in_this_round_is_not_final_yet() -> None:
    """Only the node that showed the receipt was asked for its block."""
    transfer = build_sent()
    seen = build_seen(
        receipts=build_receipts(transfer, BLOCK), canonical=IN_BLOCK, finalized=FINAL_BLOCK
    )

    once = apply(transfer, seen)

    assert once.state is TransferState.MINED
    assert apply(once, seen).state is TransferState.FINAL


@pytest.mark.parametrize(("first", "then"), [("nothing", "moved"), ("moved", "nothing")])
def test_a_receipt_that_lacked_its_logs_is_judged_again(first: str, then: str) -> None:
    transfer = mine(build_sent(), outcome=first)
    receipts = build_receipts(transfer, BLOCK, outcome=then)

    corrected = apply(transfer, build_seen(receipts=receipts, canonical=IN_BLOCK))
    assert corrected.state is (TransferState.MINED if then == "moved" else TransferState.REVERTED)
    closed = apply(corrected, build_seen(receipts=receipts, canonical=IN_BLOCK))

    moved = then == "moved"
    assert closed.state is (TransferState.FINAL if moved else TransferState.FINAL_REVERTED)
    assert bool(closed.reason) == (not moved)
    assert not corrected.is_reported


@pytest.mark.parametrize(
    ("kinds", "outcome", "state", "reason"),
    [
        ([TRANSFER], "moved", "sent", ""),
        ([TRANSFER], "reverted", "sent", ""),
        ([TRANSFER, CANCEL], "moved", "cancelling", ""),
        ([TRANSFER, CANCEL], "cancel", "cancelling", "given up"),
    ],
)
def test_another_block_at_its_height_un_mines_it(
    kinds: list[AttemptKind], outcome: str, state: str, reason: str
) -> None:
    """Invariant I8."""
    transfer = mine(build_sent(*kinds), 2 if outcome == "cancel" else 1, outcome=outcome)

    undone = apply(transfer, build_seen(canonical={95: build_block(95, 1).hash}))

    assert (undone.state, undone.reason) == (state, reason)
    assert (undone.mined_hash, undone.block_number, undone.block_hash) == ("", None, "")
    assert (undone.nonce, undone.attempts) == (transfer.nonce, transfer.attempts)
    assert not undone.is_reported


def test_after_a_reorg_another_attempt_may_be_in_another_block() -> None:
    transfer = mine(build_sent(TRANSFER, CANCEL))
    other = build_block(95, 1)
    receipts = build_receipts(transfer, other, 2, outcome="nothing")
    finalized = build_block(94)

    mined = apply(
        transfer, build_seen(receipts=receipts, canonical={95: other.hash}, finalized=finalized)
    )

    assert mined.state is TransferState.CANCEL_MINED
    assert (mined.mined_hash, mined.block_hash) == (transfer.attempts[1].tx_hash, other.hash)


def test_of_two_receipts_the_one_in_an_agreed_block_counts() -> None:
    transfer = build_sent(TRANSFER, TRANSFER)
    lonely = build_receipts(transfer, build_block(94, 1), 1)
    agreed = build_receipts(transfer, BLOCK, 2)
    left = build_receipts(transfer, build_block(95, 1), 1)

    for receipts in ({**lonely, **agreed}, {**agreed, **left}):
        mined = apply(transfer, build_seen(receipts=receipts, canonical=IN_BLOCK))
        assert mined.mined_hash == transfer.attempts[1].tx_hash


def test_a_nonce_that_another_transaction_used_is_lost_after_three_lookups() -> None:
    transfer = build_sent(TRANSFER, TRANSFER)

    for lookups in (1, 2):
        transfer = look_up(transfer, HEAD + lookups)
        assert (transfer.state, transfer.lookups_without_trace) == ("sent", lookups)
    lost = look_up(transfer, HEAD + 3)

    assert lost.state is TransferState.LOST
    assert "must be looked up" in lost.reason
    assert not lost.is_reported


def test_a_lookup_counts_only_where_the_chain_has_grown_since_the_last_one() -> None:
    """A node that stands still, or a cache, may give the same answers over and over."""
    transfer = look_up(build_sent(), HEAD)

    for head in (HEAD, HEAD, HEAD - 1, HEAD):
        transfer = look_up(transfer, head)
        assert (transfer.state, transfer.lookups_without_trace) == ("sent", 1)

    assert look_up(look_up(transfer, HEAD + 1), HEAD + 2).state is TransferState.LOST


@pytest.mark.parametrize(
    "changes",
    [
        {"final_nonce": 7},
        {"final_nonce": None},
        {"is_complete": False},
        {"without_receipt": frozenset()},
        {"without_receipt": frozenset({build_attempt(1).tx_hash})},
    ],
)
def test_a_lookup_that_leaves_a_doubt_starts_the_count_again(changes: dict[str, Any]) -> None:
    """Invariant I6: a nonce that is used says nothing by itself."""
    transfer = look_up(look_up(build_sent(TRANSFER, TRANSFER), HEAD + 1), HEAD + 2)
    assert transfer.lookups_without_trace == 2

    unclear = apply(transfer, build_lost_seen(transfer, **changes))

    assert (unclear.state, unclear.lookups_without_trace) == ("sent", 0)


def test_an_attempt_that_is_found_late_is_not_lost() -> None:
    transfer = look_up(look_up(build_sent(), HEAD + 1), HEAD + 2)
    receipts = build_receipts(transfer, BLOCK)

    found = apply(
        transfer, build_lost_seen(transfer, receipts=receipts, without_receipt=frozenset())
    )

    assert (found.state, found.lookups_without_trace) == ("mined", 0)


@pytest.mark.parametrize("state", sorted({*CLOSED_STATES, TransferState.QUEUED}))
def test_a_closed_transfer_never_changes(state: TransferState) -> None:
    """Invariant I3: also where a node shows a transaction of it."""
    transfer = replace(mine(build_sent()), state=state)
    other = build_block(95, 1)

    for canonical in ({}, IN_BLOCK, {95: other.hash}):
        receipts = build_receipts(transfer, other, outcome="reverted")
        assert apply(transfer, build_seen(receipts=receipts, canonical=canonical)) is transfer


def test_what_did_not_change_is_not_reported_again() -> None:
    transfer = mine(build_sent())

    assert apply(transfer, build_seen(canonical=IN_BLOCK, finalized=build_block(94))).is_reported
    assert not apply(replace(transfer, is_reported=False), build_seen(finalized=None)).is_reported


@pytest.mark.parametrize(
    ("transfer", "attempt", "nonce"),
    [
        (build_sent(), build_attempt(2), 8),
        (build_sent(), build_attempt(3), 7),
        (build_sent(TRANSFER, CANCEL), build_attempt(3), 7),
        (mine(build_sent()), build_attempt(2), 7),
        (replace(build_sent(), state=TransferState.LOST), build_attempt(2), 7),
        (replace(build_sent(), attempts=()), build_attempt(1), 7),
        (Transfer(terms=build_terms(), state=TransferState.EXPIRED), build_attempt(1), 7),
        (build_sent(), build_attempt(2, fees=Fees(max_fee=142, tip=40)), 7),
    ],
)
def test_an_attempt_that_could_double_money_is_not_recorded(
    transfer: Transfer, attempt: Any, nonce: int
) -> None:
    """Invariant I3: no second nonce, and no transfer after a cancel."""
    with pytest.raises(ValueError, match="r1"):
        add_attempt(transfer, attempt, nonce=nonce)


def test_a_transfer_keeps_its_nonce_and_its_attempts() -> None:
    """Invariant I3."""
    sent = replace(build_sent(), is_reported=True)
    raised = add_attempt(sent, build_attempt(2), nonce=7)
    cancelling = add_attempt(raised, build_attempt(3, CANCEL), nonce=7, reason="its time was over")

    assert (raised.state, raised.nonce, raised.is_reported) == ("sent", 7, True)
    assert (cancelling.state, cancelling.nonce) == ("cancelling", 7)
    assert (cancelling.reason, cancelling.is_reported) == ("its time was over", False)
    assert [each.number for each in cancelling.attempts] == [1, 2, 3]
