"""What became of an order."""

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime

from shared.domain.money import Side
from shared.messages.base import ExactDecimal, Micros, PositiveMicros, ProxyMessage


class OrderState(StrEnum):
    SIGNED = "signed"
    """Kept, about to be sent; perhaps sent."""
    UNKNOWN = "unknown"
    """Sent, and the answer was lost: it may have happened. Resolved by asking and by sending the
    same bytes again."""
    MATCHED = "matched"
    """Provisional: the settlement can still fail on the chain."""
    CONFIRMED = "confirmed"
    KILLED = "killed"
    """The venue found nothing that fits the limits: nothing was bought or sold."""
    REJECTED = "rejected"
    """The venue refused the order."""
    FAILED = "failed"
    """Matched, and the settlement failed for good: reversed."""
    WITHDRAWN = "withdrawn"
    """Never sent: halted, or too late, between approval and signing."""


FINAL_STATES = frozenset(
    {
        OrderState.CONFIRMED,
        OrderState.KILLED,
        OrderState.REJECTED,
        OrderState.FAILED,
        OrderState.WITHDRAWN,
    }
)

OPEN_STATES = tuple(state for state in OrderState if state not in FINAL_STATES)
"""The states of an order that is followed until it is final."""


class OrderReported(ProxyMessage):
    """Where an intent's order stands now."""

    topic: ClassVar[str] = "copy-outcomes"
    intent_id: str
    order_hash: str
    """EIP-712 hash: the order's name at the venue, known before it is sent. Empty where none was
    signed."""
    state: OrderState
    side: Side
    token_id: str
    shares: Micros
    """Filled."""
    usdc: Micros
    """Paid or received for ``shares``, fees not counted."""
    fee_usdc: Micros
    reason: str = ""
    """The venue's own words where it refused or killed."""


class TradeStatus(StrEnum):
    MATCHED = "MATCHED"
    MINED = "MINED"
    CONFIRMED = "CONFIRMED"
    RETRYING = "RETRYING"
    FAILED = "FAILED"


class TradeReported(ProxyMessage):
    """The venue's word on one trade of a follower's order."""

    topic: ClassVar[str] = "venue-reports"
    intent_id: str
    order_hash: str
    trade_id: str
    status: TradeStatus
    side: Side
    token_id: str
    shares: PositiveMicros
    price: ExactDecimal
    """USDC per share, averaged over the trade's makers."""
    usdc: Micros
    fee_usdc: Micros
    transaction_hash: str
    """Empty until the venue names it."""
    matched_at: AwareDatetime


class OrderOverdue(ProxyMessage):
    """An order of ours has no final answer yet and it is time to look after it."""

    topic: ClassVar[str] = "venue-reports"
    intent_id: str
    order_hash: str
