"""A transfer, the attempts to have it mined, and what nodes show of them. Types only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from shared.chain.blocks import Block, Receipt
from shared.messages.transfers import Direction, TransferPurpose, TransferState

CLOSED_STATES = frozenset(
    {
        TransferState.FINAL,
        TransferState.FINAL_REVERTED,
        TransferState.CANCELLED,
        TransferState.EXPIRED,
        TransferState.REFUSED,
        TransferState.LOST,
    }
)
"""Nothing is sent, or looked for, any more. Only an operator changes ``lost``."""

MINED_STATES = frozenset({TransferState.MINED, TransferState.REVERTED, TransferState.CANCEL_MINED})
"""In a block that a reorg can still undo."""

OPEN_STATES = frozenset({TransferState.SENT, TransferState.CANCELLING}) | MINED_STATES
"""With a nonce, and not closed."""


class AttemptKind(StrEnum):
    TRANSFER = "transfer"
    CANCEL = "cancel"
    """Sends nothing to the operator wallet itself, to use up the nonce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What a transaction pays for gas, in wei."""

    max_fee: int
    tip: int
    """At most ``max_fee``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is transferred, by the request."""

    request_id: str
    proxy: str
    operator: str
    direction: Direction
    token_id: str | None
    amount: int
    purpose: TransferPurpose
    intent_id: str
    send_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One signed version of a transfer's transaction. Recorded before it is sent; never changed."""

    tx_hash: str
    number: int
    """1 for the first of its nonce."""
    kind: AttemptKind
    raw: bytes
    gas: int
    fees: Fees
    signed_at: datetime
    signed_at_block: int
    """The height of the chain at that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A requested transfer and what was done for it."""

    terms: Terms
    state: TransferState = TransferState.QUEUED
    reason: str = ""
    nonce: int | None = None
    """None: no transaction was signed."""
    attempts: tuple[Attempt, ...] = ()
    """In the order of their numbers. Any of them may be mined."""
    mined_hash: str = ""
    """The attempt that is in a block; empty where none is."""
    block_number: int | None = None
    block_hash: str = ""
    is_reported: bool = False
    """Whether this state was published."""
    revision: int = 1
    """Grows with each state that is published: a report of a lower one is older."""
    traceparent: str | None = field(default=None, compare=False)
    lookups_without_trace: int = field(default=0, compare=False)
    """In how many rounds in a row the nonce was used in a final block, and no attempt was in any.
    Not recorded: it is counted again after a restart."""
    looked_up_at_block: int = field(default=0, compare=False)
    """The height of the chain at the last of these rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What this process did with an attempt. Not recorded: after a restart it is sent again."""

    sent_at: datetime
    sent_at_block: int
    is_refused: bool = False
    """Every node that answered says that this transaction can never be valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the nodes show of an operator wallet and its open transfers, in one round."""

    head: Block
    finalized: Block | None
    """None: no node names one, or they contradict one another."""
    base_fee: int
    """Of the next block, in wei."""
    suggested: Fees
    """For a transaction that is to be in one of the next blocks."""
    nonce: int
    """How many of the wallet's transactions are in blocks: the highest of the nodes' answers."""
    nonce_floor: int
    """The lowest of these answers."""
    final_nonce: int | None
    """The same as of the finalized block; None: not known."""
    gas_balance: int
    """The wallet's POL, in wei: the lowest of the nodes' answers."""
    receipts: Mapping[str, Receipt]
    """By transaction: of attempts that are in a block which its node calls canonical."""
    without_receipt: frozenset[str]
    """The attempts that are in no block by every node that is up to date and answered."""
    canonical: Mapping[int, str]
    """By height: the hash of the block, where the nodes that know the height agree."""
    pooled: frozenset[str]
    """The attempts that some node has, in its pool or in a block."""
    is_complete: bool
    """Whether every node that is up to date answered everything."""
    finality_lag: timedelta
    """The age of the finalized block."""
    answered: frozenset[str] = field(default=frozenset(), compare=False)
    """The names of the nodes that answered."""
    heads: Mapping[str, int] = field(default_factory=dict)
    """Of these, the ones that are up to date, with the heights of their heads."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be sent now."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the same bytes again."""

    attempts: tuple[Attempt, ...]
    """In this order. Empty: none is due yet, and there is only the concern."""
    concern: str = ""
    """Why a new attempt is not made although it is due (the fee cap, no money for gas); an operator
    should know. Empty: there is no concern."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Sign another transaction with the same nonce, record it, and send it."""

    kind: AttemptKind
    fees: Fees
    reason: str


Action = Wait | Resend | Replace
