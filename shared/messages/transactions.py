"""What the chain says about followers' orders: the fills that are final, and the transactions that
a service waits for, by the request, the observed receipts and the result.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime

from shared.domain.money import Side
from shared.messages.base import Fact, Micros, ProxyMessage


class Purpose(StrEnum):
    SETTLEMENT = "settlement"
    """The exchange's transaction that settles a match of a follower's order."""


class SettledFill(Fact):
    """What an order gave and received in a transaction, by the chain's logs.

    These amounts are exact; the venue's are rounded.
    """

    order_hash: str
    shares: Micros
    usdc: Micros
    fee_usdc: Micros


class ConfirmationRequested(ProxyMessage):
    """A service waits for this transaction to become final."""

    topic: ClassVar[str] = "chain-requests"
    request_id: str
    transaction_hash: str
    purpose: Purpose
    intent_id: str


class ReceiptSeen(ProxyMessage):
    """A node returned the receipt of a watched transaction; a reorg can still change it."""

    topic: ClassVar[str] = "chain-reports"
    request_id: str
    transaction_hash: str
    block_number: int | None
    """None: the node has no receipt."""
    block_hash: str
    succeeded: bool
    fills: tuple[SettledFill, ...]
    """Of all orders that the transaction settles."""
    finalized_block: int
    """The newest block known to be final at that time; 0: the node has named none yet."""


class TransactionState(StrEnum):
    WATCHED = "watched"
    MINED = "mined"
    """In a block; a reorg can still undo it."""
    REVERTED = "reverted"
    """In a block, and failed there; a reorg can still undo that."""
    FINAL = "final"
    FINAL_REVERTED = "final_reverted"
    DROPPED = "dropped"
    """In no block for so long that it is not checked any more: probably replaced by another
    transaction, or lost."""


class TransactionResolved(ProxyMessage):
    """The state of a watched transaction has changed."""

    topic: ClassVar[str] = "chain-results"
    request_id: str
    transaction_hash: str
    purpose: Purpose
    intent_id: str
    state: TransactionState
    block_number: int | None
    fills: tuple[SettledFill, ...]
    """Of the orders that it settles; empty where it reverted."""


class ChainFill(Fact):
    """One fill of an order, by a log of an exchange. The amounts are exact."""

    order_hash: str
    transaction_hash: str
    log_index: int
    side: Side
    token_id: str
    shares: Micros
    usdc: Micros
    """Without the fee."""
    fee_usdc: Micros


class FillsSettled(ProxyMessage):
    """All fills of a follower's orders in one block that is final: no reorg can change them, and
    the block that is read again gives the same message.
    """

    topic: ClassVar[str] = "chain-results"
    block_number: int
    block_hash: str
    mined_at: AwareDatetime
    """The block's time."""
    fills: tuple[ChainFill, ...]
    """In the order of their logs; also those of orders that the follower made himself."""
