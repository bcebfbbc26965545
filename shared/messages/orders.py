"""The states of our orders and of the venue's trades of them."""

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime

from shared.domain.money import Side
from shared.messages.base import ExactDecimal, Micros, PositiveMicros, ProxyMessage


class OrderState(StrEnum):
    SIGNED = "signed"
    """Recorded and about to be sent; it may have been sent."""
    UNKNOWN = "unknown"
    """Sent, and the reply was lost or cannot be relied on: it may have been matched. Resolved by
    lookups and by sending the same bytes again."""
    MATCHED = "matched"
    """Provisional: the settlement can still fail on the chain."""
    CONFIRMED = "confirmed"
    KILLED = "killed"
    """The venue ended it because nothing matched its limits: nothing was bought or sold."""
    REJECTED = "rejected"
    """The venue refused the order."""
    FAILED = "failed"
    """Matched, and the settlement failed finally: the match is reversed."""
    WITHDRAWN = "withdrawn"
    """Not signed: between approval and signing it expired, or its mode forbade it."""


FINAL_STATES = frozenset(
    {
        OrderState.CONFIRMED,
        OrderState.KILLED,
        OrderState.REJECTED,
        OrderState.FAILED,
        OrderState.WITHDRAWN,
    }
)

OPEN_ORDER_STATES = tuple(state for state in OrderState if state not in FINAL_STATES)
"""The states of an order that is followed until it is final."""


class OrderReported(ProxyMessage):
    """The state of an intent's order has changed."""

    topic: ClassVar[str] = "copy-outcomes"
    intent_id: str
    order_hash: str
    """EIP-712 hash: the order's id at the venue, known before it is sent. Empty where none was
    signed."""
    state: OrderState
    side: Side
    token_id: str
    shares: Micros
    """Matched so far."""
    usdc: Micros
    """Paid or received for ``shares``, without fees."""
    fee_usdc: Micros
    reason: str = ""
    """The venue's text where it rejected or killed the order."""
    obstacle_may_pass: bool = False
    """Of a final state: whether what it left undone may succeed later, so that an exit is intended
    again for it. False where nothing is left, or where trying again is pointless."""


class TradeStatus(StrEnum):
    MATCHED = "MATCHED"
    MINED = "MINED"
    CONFIRMED = "CONFIRMED"
    RETRYING = "RETRYING"
    FAILED = "FAILED"


class TradeReported(ProxyMessage):
    """The venue reported a trade of a follower's order."""

    topic: ClassVar[str] = "venue-reports"
    intent_id: str
    order_hash: str
    trade_id: str
    status: TradeStatus
    side: Side
    token_id: str
    shares: PositiveMicros
    price: ExactDecimal
    """USDC per share, the average over the trade's makers."""
    usdc: Micros
    fee_usdc: Micros
    transaction_hash: str
    """Empty until the venue reports it."""
    matched_at: AwareDatetime


class OrderOverdue(ProxyMessage):
    """An order of ours has had no final state for so long that it must be checked."""

    topic: ClassVar[str] = "venue-reports"
    intent_id: str
    order_hash: str
