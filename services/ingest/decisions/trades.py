"""What is stored about leaders' trades: rows, slices and neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.money import ROUNDING_TOLERANCE_SHARES
from shared.messages.leader_fills import FillSource, LeaderFillSeen

RESENT_WITHIN = timedelta(minutes=10)
"""The longest time assumed between a match and the block of its settlement, if that was resent. The
venue does not document for how long it retries."""

CLOCK_TOLERANCE = timedelta(seconds=3)
"""How much earlier than a match the block of its settlement may be dated: the venue's clock and the
chain's differ, and both report whole seconds."""

CONFIRMING_SOURCES = frozenset({FillSource.CHAIN, FillSource.DATA})
"""The sources that report only what is in a block."""

RowKey = tuple[FillSource, str]
"""A row's source, and its id within that source."""

ShareRange = tuple[int, int]
"""Micro-shares of a trade: from the first, up to but not including the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    """One stored row of a feed. ``shares`` are micro-shares."""

    shares: int
    filled_at: datetime
    awaits_confirmation: bool = False
    """It may report a trade that is known under another transaction: it counts once its own
    transaction is confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySlice:
    """A range of a trade's micro-shares that is copied at one time or is resent (``resent_of``)."""

    from_shares: int
    to_shares: int
    caused_by: RowKey
    """The row that led to this slice: if that row is delivered again, it yields the same slice."""
    controls_version: int
    intended_at: datetime
    resent_of: str = ""
    """The id of the trade as which these shares were probably copied already: then this slice makes
    no intents. Empty: it makes them."""
    fill: LeaderFillSeen | None = None
    """The row of a resent slice: published again if that other trade is confirmed too. None on a
    slice that makes intents."""

    @property
    def shares(self) -> int:
        return self.to_shares - self.from_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """The stored rows and slices of one trade."""

    trade_id: str
    rows: Mapping[RowKey, FillRow]
    slices: tuple[CopySlice, ...] = ()

    @property
    def socket_rows(self) -> Mapping[str, FillRow]:
        """The activity socket's rows, by row id."""
        return {
            row_id: row for (source, row_id), row in self.rows.items() if source is FillSource.RTDS
        }

    @property
    def first_seen_by_socket_at(self) -> datetime:
        """Raises: ValueError where the socket has not reported the trade."""
        return min(row.filled_at for row in self.socket_rows.values())

    @property
    def confirming_rows(self) -> Mapping[RowKey, FillRow]:
        return {key: row for key, row in self.rows.items() if key[0] in CONFIRMING_SOURCES}

    @property
    def confirmed_at(self) -> datetime | None:
        """The time of the block with its transaction; None while no source has confirmed it."""
        return max((row.filled_at for row in self.confirming_rows.values()), default=None)

    @property
    def copied_shares(self) -> int:
        """Micro-shares that were made intents as this trade."""
        return sum(each.shares for each in self.slices if not each.resent_of)

    @property
    def total_shares(self) -> int:
        """Micro-shares of all rows that count: those that await confirmation do not, until the
        trade is confirmed.
        """
        return best_source_total(
            {
                key: row
                for key, row in self.rows.items()
                if self.confirmed_at is not None or not row.awaits_confirmation
            }
        )

    @property
    def is_confirmed_beyond_socket(self) -> bool:
        """Whether more shares are confirmed than the socket reported."""
        reported = sum(row.shares for row in self.socket_rows.values())
        return best_source_total(self.confirming_rows) - reported > ROUNDING_TOLERANCE_SHARES


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeContext:
    """What is stored about one trade and its neighbours: trades of the same leader, token and side,
    close in time.
    """

    trade: Trade
    neighbours: tuple[Trade, ...] = ()
    resent_slices: tuple[CopySlice, ...] = ()
    """All slices, of any trade, that count as resent shares of the trade or of a neighbour."""

    def provisional_shares(self, other: Trade) -> int:
        """Micro-shares that were copied of an unconfirmed trade, less those that are counted
        against a confirmed trade already; 0 once it is confirmed.
        """
        if other.confirmed_at is not None:
            return 0
        counted = sum(
            each.shares for each in self.resent_slices if each.resent_of == other.trade_id
        )
        return other.copied_shares - counted


def best_source_total(rows: Mapping[RowKey, FillRow]) -> int:
    """Micro-shares of the rows: the sum of the source that saw most of them.

    Each source's sum is a lower bound of the true amount (the activity socket cannot tell two equal
    fills apart, the chain can). The largest sum is therefore the best lower bound; it can only
    grow, and does not depend on the order of the rows.
    """
    sums: dict[FillSource, int] = {}
    for (source, _), row in rows.items():
        sums[source] = sums.get(source, 0) + row.shares
    return max(sums.values(), default=0)


def row_key(fill: LeaderFillSeen) -> RowKey:
    return (fill.source, fill.row_id)
