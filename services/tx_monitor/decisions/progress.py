"""The state of a transfer, from what the nodes show of its attempts. Pure."""

from dataclasses import replace

from services.tx_monitor.decisions.fees import is_replacement
from services.tx_monitor.decisions.policy import Policy
from services.tx_monitor.decisions.transfers import (
    MINED_STATES,
    OPEN_STATES,
    Attempt,
    AttemptKind,
    Seen,
    Terms,
    Transfer,
)
from shared.chain.blocks import Receipt
from shared.chain.transfer_calls import Movement, shows_movement
from shared.messages.transfers import Direction, TransferState

FINAL_BY_STATE = {
    TransferState.MINED: TransferState.FINAL,
    TransferState.REVERTED: TransferState.FINAL_REVERTED,
    TransferState.CANCEL_MINED: TransferState.CANCELLED,
}
BEFORE_BLOCK_STATES = frozenset(
    {TransferState.QUEUED, TransferState.SENT, TransferState.CANCELLING}
)
FAILED = "the transaction reverted"
WITHOUT_TRANSFER = "the transaction succeeded without the transfer"
CANCELLED = "a transaction that does nothing took its place"
NONCE_USED = (
    "its nonce was used by a transaction that is not known here: whether it was transferred must "
    "be looked up"
)


def build_movement(terms: Terms) -> Movement:
    """Return what the request moves on the chain."""
    return Movement(
        operator=terms.operator,
        proxy=terms.proxy,
        to_proxy=terms.direction is Direction.TO_PROXY,
        token_id=None if terms.token_id is None else int(terms.token_id),
        amount=terms.amount,
    )


def add_attempt(transfer: Transfer, attempt: Attempt, *, nonce: int, reason: str = "") -> Transfer:
    """Return the transfer with its first, or another, signed attempt, as it is to be recorded.

    Raises: ValueError where recording it could double or lose money: it would be a bug.
    """
    last = transfer.attempts[-1] if transfer.attempts else None
    if transfer.nonce not in (None, nonce) or attempt.number != len(transfer.attempts) + 1:
        raise ValueError(f"{transfer.terms.request_id}: an attempt out of turn")
    if transfer.state not in BEFORE_BLOCK_STATES or (transfer.nonce is None) != (last is None):
        raise ValueError(f"{transfer.terms.request_id}: no attempt while {transfer.state}")
    if last is not None and last.kind is AttemptKind.CANCEL and attempt.kind is not last.kind:
        raise ValueError(f"{transfer.terms.request_id}: a transfer after it was cancelled")
    if last is not None and not is_replacement(last.fees, attempt.fees):
        raise ValueError(f"{transfer.terms.request_id}: fees that no pool replaces an attempt for")
    is_cancel = attempt.kind is AttemptKind.CANCEL
    after = replace(
        transfer,
        state=TransferState.CANCELLING if is_cancel else TransferState.SENT,
        reason=(transfer.reason or reason) if is_cancel else "",
        nonce=nonce,
        attempts=(*transfer.attempts, attempt),
    )
    return after if after.state is transfer.state else mark_changed(after)


def mark_changed(transfer: Transfer) -> Transfer:
    """Return the transfer, whose state or block has just changed, as one that is to be reported."""
    return replace(transfer, is_reported=False, revision=transfer.revision + 1)


def refuse(transfer: Transfer, reason: str) -> Transfer:
    """Return a queued transfer as one that is never sent."""
    return mark_changed(replace(transfer, state=TransferState.REFUSED, reason=reason))


def apply_seen(transfer: Transfer, seen: Seen, *, policy: Policy) -> Transfer:
    """Return the transfer as of this round. One without a nonce, or that is closed, stays as it is.

    What is in a block stays there until the nodes agree on another block at its height: a missing
    receipt alone means nothing. It is judged again by each receipt: one answer may have lacked the
    logs. It is final when it was so in this block in the round before, and every node was asked for
    that, the nodes agree on the block and the receipt, and it is not above the finalized one.
    Raises: Transient for an event that cannot be read.
    """
    if transfer.state not in OPEN_STATES:
        return transfer
    current = _undo_block(transfer, seen) if _is_undone(transfer, seen) else transfer
    if current.state in MINED_STATES:
        current = _judge_again(current, seen)
    else:
        current = _find_block(current, seen)
    if current.state in MINED_STATES:
        current = replace(current, lookups_without_trace=0)
        if _is_final(current, transfer, seen):
            current = replace(current, state=FINAL_BY_STATE[current.state])
    else:
        current = _count_lookup(current, seen, policy)
    is_same = _describe_outcome(current) == _describe_outcome(transfer)
    return current if is_same else mark_changed(current)


def _describe_outcome(transfer: Transfer) -> tuple[object, ...]:
    """What is reported of it."""
    return transfer.state, transfer.mined_hash, transfer.block_number, transfer.block_hash


def _is_undone(transfer: Transfer, seen: Seen) -> bool:
    """Whether the nodes agree on another block at the height of the transfer's."""
    if transfer.state not in MINED_STATES or transfer.block_number is None:
        return False
    return seen.canonical.get(transfer.block_number, transfer.block_hash) != transfer.block_hash


def _undo_block(transfer: Transfer, seen: Seen) -> Transfer:
    """The transfer in no block: any attempt may be mined again."""
    is_cancelling = any(each.kind is AttemptKind.CANCEL for each in transfer.attempts)
    return replace(
        transfer,
        state=TransferState.CANCELLING if is_cancelling else TransferState.SENT,
        reason=transfer.reason if transfer.state is TransferState.CANCEL_MINED else "",
        mined_hash="",
        block_number=None,
        block_hash="",
    )


def _find_block(transfer: Transfer, seen: Seen) -> Transfer:
    """The transfer as mined, where one of its attempts is in a block."""
    found = [
        (attempt, receipt)
        for attempt in transfer.attempts
        if (receipt := seen.receipts.get(attempt.tx_hash)) is not None
        and seen.canonical.get(receipt.block_number, receipt.block_hash) == receipt.block_hash
    ]
    if not found:
        return transfer
    # Two can only be from nodes with different chains: the block that the nodes agree on counts.
    attempt, receipt = max(found, key=lambda each: each[1].block_number in seen.canonical)
    state, reason = _judge_receipt(transfer, attempt, receipt)
    return replace(
        transfer,
        state=state,
        reason=reason,
        mined_hash=attempt.tx_hash,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
    )


def _judge_again(transfer: Transfer, seen: Seen) -> Transfer:
    """The mined transfer with the state that this round's receipt shows, if there is one."""
    receipt = _find_receipt(transfer, seen)
    if receipt is None:
        return transfer
    attempt = next(each for each in transfer.attempts if each.tx_hash == transfer.mined_hash)
    state, reason = _judge_receipt(transfer, attempt, receipt)
    return replace(transfer, state=state, reason=reason)


def _find_receipt(transfer: Transfer, seen: Seen) -> Receipt | None:
    """This round's receipt of the mined attempt in the recorded block."""
    receipt = seen.receipts.get(transfer.mined_hash)
    return receipt if receipt and receipt.block_hash == transfer.block_hash else None


def _judge_receipt(
    transfer: Transfer, attempt: Attempt, receipt: Receipt
) -> tuple[TransferState, str]:
    """The state that the receipt shows, and why nothing was transferred."""
    if attempt.kind is AttemptKind.CANCEL:
        return TransferState.CANCEL_MINED, transfer.reason or CANCELLED
    if shows_movement(receipt, build_movement(transfer.terms)):
        return TransferState.MINED, ""
    return TransferState.REVERTED, WITHOUT_TRANSFER if receipt.succeeded else FAILED


def _is_final(transfer: Transfer, before: Transfer, seen: Seen) -> bool:
    if seen.finalized is None or transfer.block_number is None:
        return False
    return (
        (before.state, before.block_hash) == (transfer.state, transfer.block_hash)
        and _find_receipt(transfer, seen) is not None
        and transfer.block_number <= seen.finalized.number
        and seen.canonical.get(transfer.block_number) == transfer.block_hash
    )


def _count_lookup(transfer: Transfer, seen: Seen, policy: Policy) -> Transfer:
    """The transfer as lost, where another transaction has used its nonce for good."""
    if not _is_without_trace(transfer, seen):
        return replace(transfer, lookups_without_trace=0)
    head, lookups = seen.head.number, transfer.lookups_without_trace + 1
    if transfer.lookups_without_trace and head <= transfer.looked_up_at_block:
        return transfer  # the same chain once more, perhaps from a cache: it says nothing new
    counted = replace(transfer, lookups_without_trace=lookups, looked_up_at_block=head)
    if lookups < policy.lookups_until_lost:
        return counted
    return replace(counted, state=TransferState.LOST, reason=NONCE_USED)


def _is_without_trace(transfer: Transfer, seen: Seen) -> bool:
    """Whether the nonce was used in a final block, and by every node no attempt is in any."""
    if transfer.nonce is None or seen.final_nonce is None or not seen.is_complete:
        return False
    return seen.final_nonce > transfer.nonce and all(
        attempt.tx_hash in seen.without_receipt for attempt in transfer.attempts
    )
