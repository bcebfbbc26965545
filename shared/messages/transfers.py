"""Transfers between an operator wallet and a follower's proxy: what a service asks tx-monitor to
send, and what became of it on the chain.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime, Field

from shared.messages.base import Address, ProxyMessage, TradedMicros


class Direction(StrEnum):
    TO_PROXY = "to_proxy"
    """The operator wallet gives."""
    FROM_PROXY = "from_proxy"
    """The operator wallet takes, by an approval of the proxy."""


class TransferPurpose(StrEnum):
    DELIVERY = "delivery"
    """Shares that were bought for the follower, to his proxy."""
    REIMBURSEMENT = "reimbursement"
    """What the shares cost, from the proxy."""
    PULL = "pull"
    """Shares that are to be sold for the follower, from his proxy."""
    PROCEEDS = "proceeds"
    """What the shares brought, to the proxy."""
    RETURN = "return"
    """Shares that were pulled and not sold, to the proxy."""
    RECOVERY = "recovery"
    """A debt, from or to the proxy."""


class TransferState(StrEnum):
    QUEUED = "queued"
    """Recorded; no transaction of it was signed."""
    SENT = "sent"
    """A transaction of it was signed: any node may have it."""
    CANCELLING = "cancelling"
    """A transaction that does nothing is to take its place. Either may still be mined."""
    MINED = "mined"
    """In a block, with exactly this transfer; a reorg can still undo it."""
    REVERTED = "reverted"
    """In a block, without the transfer; a reorg can still undo that."""
    CANCEL_MINED = "cancel_mined"
    """The transaction that does nothing is in a block; a reorg can still undo that."""
    FINAL = "final"
    """Exactly this amount was transferred, for good."""
    FINAL_REVERTED = "final_reverted"
    """Nothing was transferred, for good: the transaction reverted, or did not transfer it."""
    CANCELLED = "cancelled"
    """Nothing was transferred, for good: the transaction that does nothing took its place."""
    EXPIRED = "expired"
    """Nothing was sent: its time was over before."""
    REFUSED = "refused"
    """Nothing was sent: the chain would not have taken it, or nobody here has the key."""
    LOST = "lost"
    """Its nonce was used by a transaction that tx-monitor does not know: whether the amount was
    transferred is not known. The operator wallet is halted until an operator has looked."""


class TransferRequested(ProxyMessage):
    """A service asks for a transfer between an operator wallet and the proxy.

    It is made at most once, however often it is requested.
    """

    topic: ClassVar[str] = "chain-requests"
    request_id: str
    operator: Address
    """The operator wallet that gives or takes."""
    direction: Direction
    token_id: str | None
    """The shares that are transferred; None: pUSD."""
    amount: TradedMicros
    """Micro-USDC or micro-shares."""
    purpose: TransferPurpose
    intent_id: str
    send_before: AwareDatetime | None
    """Given up where it is in no block by then; None: never."""


class TransferReported(ProxyMessage):
    """What is known of a requested transfer.

    It may come again, and late, of an instance that was paused: one of a lower revision than a
    known one says nothing.
    """

    topic: ClassVar[str] = "chain-results"
    request_id: str
    operator: Address
    direction: Direction
    token_id: str | None
    amount: TradedMicros
    purpose: TransferPurpose
    intent_id: str
    state: TransferState
    revision: int = Field(strict=True, gt=0)
    """Grows with each state that is reported."""
    transaction_hash: str
    """The transaction in a block; empty where none is."""
    block_number: int | None
    reason: str
    """Why nothing was transferred, or why that is not known; else empty."""
