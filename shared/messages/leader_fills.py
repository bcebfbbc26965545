"""Fills of leaders, as the feeds report them."""

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime

from shared.domain.ids import trade_id
from shared.domain.money import Side
from shared.messages.base import Address, Message, Price, TradedMicros


class FillSource(StrEnum):
    """Which kind of feed a fill came from.

    Two feeds of one source report the same rows; two sources report the same fills in different
    rows.
    """

    RTDS = "rtds"
    CHAIN = "chain"
    DATA = "data"


class LeaderFillSeen(Message):
    """One row of a feed: a fill of a followed leader, from the leader's point of view."""

    topic: ClassVar[str] = "leader-fills"

    leader: Address
    transaction_hash: str
    token_id: str
    side: Side
    shares: TradedMicros
    price: Price
    """USDC per share, without fees."""
    source: FillSource
    row_id: str
    """Identifies the row within its source and transaction: the log index, or a digest of the row
    where it has none."""
    row_type: str = ""
    """The type under which the activity socket sent the row: it sends each fill under two, with
    slightly different numbers. Empty for the other sources."""
    lowest_price: Price | None = None
    """The lowest price of all fills of the trade, where the source reports a trade whole: the chain
    and the Data API do. None: not known."""
    highest_price: Price | None = None
    """As ``lowest_price``."""
    filled_at: AwareDatetime
    """The time of the fill by the venue or the block, in whole seconds."""
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
