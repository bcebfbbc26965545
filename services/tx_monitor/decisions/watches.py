"""The state of a watched transaction, from its receipts. Pure."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.messages.transactions import (
    ConfirmationRequested,
    Purpose,
    ReceiptSeen,
    SettledFill,
    TransactionState,
)

FINAL_STATES = frozenset({TransactionState.FINAL, TransactionState.FINAL_REVERTED})

CLOSED_STATES = FINAL_STATES | {TransactionState.DROPPED}
"""The states in which a transaction's receipt is not polled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A transaction that another service wants to see final."""

    request_id: str
    proxy: str
    transaction_hash: str
    purpose: Purpose
    intent_id: str
    state: TransactionState = TransactionState.WATCHED
    block_number: int | None = None
    block_hash: str = ""
    fills: tuple[SettledFill, ...] = ()
    traceparent: str | None = None
    changed_at: datetime | None = field(default=None, compare=False)
    """When state and block were recorded; None: the watch is not recorded yet."""


def build_watch(requested: ConfirmationRequested) -> Watch:
    return Watch(
        request_id=requested.request_id,
        proxy=requested.proxy,
        transaction_hash=requested.transaction_hash,
        purpose=requested.purpose,
        intent_id=requested.intent_id,
    )


def apply_receipt(watch: Watch, seen: ReceiptSeen) -> Watch:
    """Return the watch as of this receipt.

    A final state never changes. Any other is what the chain shows now: a missing receipt where
    there was one means that a reorg undid the transaction.
    """
    if watch.state in FINAL_STATES or (
        watch.state is TransactionState.DROPPED and seen.block_number is None
    ):
        return watch
    if seen.block_number is None:
        return replace(
            watch, state=TransactionState.WATCHED, block_number=None, block_hash="", fills=()
        )
    is_final = seen.block_number <= seen.finalized_block
    return replace(
        watch,
        state=_state(succeeded=seen.succeeded, is_final=is_final),
        block_number=seen.block_number,
        block_hash=seen.block_hash,
        fills=seen.fills,
    )


def is_overdue(watch: Watch, *, now: datetime, give_up_after: timedelta) -> bool:
    """Whether the transaction has been in no block for ``give_up_after``: it was probably replaced
    by one with another hash, or lost.
    """
    if watch.state is not TransactionState.WATCHED or watch.changed_at is None:
        return False
    return now >= watch.changed_at + give_up_after


def drop(watch: Watch) -> Watch:
    return replace(watch, state=TransactionState.DROPPED)


def _state(*, succeeded: bool, is_final: bool) -> TransactionState:
    if succeeded:
        return TransactionState.FINAL if is_final else TransactionState.MINED
    return TransactionState.FINAL_REVERTED if is_final else TransactionState.REVERTED
