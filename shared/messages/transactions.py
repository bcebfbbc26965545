"""What is asked of the chain, what is seen there, and what is certain."""

from enum import StrEnum
from typing import ClassVar

from shared.messages.base import Fact, Micros, ProxyMessage


class Purpose(StrEnum):
    SETTLEMENT = "settlement"
    """The exchange's transaction that moves a follower's fill."""


class SettledFill(Fact):
    """What the chain says that an order gave and got in a transaction. Exact: the venue's own
    figures are rounded.
    """

    order_hash: str
    shares: Micros
    usdc: Micros
    fee_usdc: Micros


class ConfirmationRequested(ProxyMessage):
    """Somebody wants to know whether this transaction becomes final."""

    topic: ClassVar[str] = "chain-requests"
    request_id: str
    transaction_hash: str
    purpose: Purpose
    intent_id: str


class ReceiptSeen(ProxyMessage):
    """A watched transaction's receipt as a node gave it: an observation, not yet a result."""

    topic: ClassVar[str] = "chain-reports"
    request_id: str
    transaction_hash: str
    block_number: int | None
    """None where the node knows no receipt."""
    block_hash: str
    succeeded: bool
    fills: tuple[SettledFill, ...]
    """Of all orders that the transaction settles."""
    finalized_block: int
    """The chain's finalized block when it was looked at."""


class TransactionState(StrEnum):
    WATCHED = "watched"
    MINED = "mined"
    """In a block; a reorg can still undo it."""
    REVERTED = "reverted"
    """In a block, and nothing moved; a reorg can still undo that."""
    FINAL = "final"
    FINAL_REVERTED = "final_reverted"
    DROPPED = "dropped"
    """In no block for so long that nobody looks any more: replaced by another transaction, most
    likely, or lost."""


class TransactionResolved(ProxyMessage):
    """Where a transaction stands now."""

    topic: ClassVar[str] = "chain-results"
    request_id: str
    transaction_hash: str
    purpose: Purpose
    intent_id: str
    state: TransactionState
    block_number: int | None
    fills: tuple[SettledFill, ...]
    """Of the orders that it settles; empty where it reverted."""
