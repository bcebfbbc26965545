"""What a feed saw of a leader's trading."""

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime

from shared.domain.ids import trade_id
from shared.domain.money import Side
from shared.messages.base import Address, Message, Price, TradedMicros


class FillSource(StrEnum):
    """Who told of a fill. Two feeds of one source tell the same rows; two sources tell the same
    fills in rows of their own.
    """

    RTDS = "rtds"
    CHAIN = "chain"
    DATA = "data"


class LeaderFillSeen(Message):
    """One row of a feed: a fill of a followed leader, from the leader's own point of view."""

    topic: ClassVar[str] = "leader-fills"

    leader: Address
    transaction_hash: str
    token_id: str
    side: Side
    shares: TradedMicros
    price: Price
    """USDC per share, fees not counted."""
    source: FillSource
    row_id: str
    """What the row is within its source and transaction: the log index, or a digest of the row
    where it has no number."""
    filled_at: AwareDatetime
    """When the venue or the block says that it happened (whole seconds)."""
    title: str = ""
    outcome: str = ""

    def key(self) -> bytes:
        return self.leader.encode()

    @property
    def trade_id(self) -> str:
        return trade_id(
            transaction_hash=self.transaction_hash,
            leader=self.leader,
            token_id=self.token_id,
            side=self.side,
        )
