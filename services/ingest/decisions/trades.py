"""What is stored about leaders' trades: rows, slices and neighbours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

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


class RowKey(NamedTuple):
    """A row's source, its id within that source, and its type where the source has types."""

    source: FillSource
    row_id: str
    row_type: str = ""


PRICE_TOLERANCE = Decimal("0.0001")
"""USDC per share, the venue's finest tick: two reports of a fill whose prices differ by no more
agree. The socket's two types differ in the tenth decimal, and the others report ratios: a base unit
of USDC, by which the amounts are rounded, is as much of a hundredth of a share."""


class PriceRange(NamedTuple):
    """The prices of one or several fills, in USDC per share."""

    lowest: Decimal
    highest: Decimal

    def meets(self, other: "PriceRange") -> bool:
        """Whether the two have a price in common, within ``PRICE_TOLERANCE``."""
        gap = max(self.lowest, other.lowest) - min(self.highest, other.highest)
        return gap <= PRICE_TOLERANCE


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
    prices: PriceRange | None = None
    """Of the row; in a row that confirms, of all fills of its trade. None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySlice:
    """A range of a trade's micro-shares that is copied at one time or is resent (``resent_of``)."""

    sequence: int
    """How many slices the trade had before this one."""
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
    leader_usdc: int | None = None
    """Micro-USDC: the slice at the price of the row that led to it. None in slices from before it
    was kept."""
    has_dated_ids: bool = True
    """Whether the ids of its intents begin with the day of ``intended_at``. False in slices of
    earlier releases: their intents keep their ids."""
    seen_at: datetime | None = None
    """When a feed saw the row, as the message that led to this slice says: only that message makes
    the slice's intents, however often it is delivered. None in slices from before it was kept:
    every message of the row makes them."""
    leader_held_shares: int | None = None
    """What the leader held of the token right before he sold this slice, in micro-shares. None on
    a BUY, on a resent slice, and in slices from before it was kept."""

    @property
    def shares(self) -> int:
        return self.to_shares - self.from_shares

    def overlaps(self, other: "CopySlice") -> bool:
        return self.from_shares < other.to_shares and other.from_shares < self.to_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """The stored rows and slices of one trade."""

    trade_id: str
    rows: Mapping[RowKey, FillRow]
    slices: tuple[CopySlice, ...] = ()

    @property
    def socket_rows(self) -> Mapping[RowKey, FillRow]:
        return {key: row for key, row in self.rows.items() if key.source is FillSource.RTDS}

    @property
    def provisional_rows(self) -> tuple[FillRow, ...]:
        """The rows of the socket that count before the trade is confirmed."""
        return tuple(row for row in self.socket_rows.values() if not row.awaits_confirmation)

    @property
    def first_seen_by_socket_at(self) -> datetime:
        """Raises: ValueError where the socket has not reported the trade."""
        return min(row.filled_at for row in self.socket_rows.values())

    @property
    def confirming_rows(self) -> Mapping[RowKey, FillRow]:
        return {key: row for key, row in self.rows.items() if key.source in CONFIRMING_SOURCES}

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
        confirmed = best_source_total(self.confirming_rows)
        return confirmed - best_source_total(self.socket_rows) > ROUNDING_TOLERANCE_SHARES


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
    grow, and does not depend on the order of the rows. The socket's types are summed each on its
    own: both report every fill, but not always with the same digits.
    """
    sums: dict[tuple[FillSource, str], int] = {}
    for key, row in rows.items():
        view = (key.source, key.row_type)
        sums[view] = sums.get(view, 0) + row.shares
    return max(sums.values(), default=0)


def list_prices(fill: LeaderFillSeen) -> PriceRange | None:
    """What the row says of the prices of its trade. The socket reports each fill alone; None where
    another source does not say at which prices the whole trade was matched.
    """
    if fill.source not in CONFIRMING_SOURCES:
        return PriceRange(fill.price, fill.price)
    if fill.lowest_price is None or fill.highest_price is None:
        return None
    return PriceRange(fill.lowest_price, fill.highest_price)


def may_have_same_price(rows: Iterable[FillRow], others: Iterable[FillRow]) -> bool:
    """Whether the one rows and the others can be of the same match, by their prices. They can where
    the prices of a row are not known.

    Ranges are compared: an order that several others filled may be one fill at their average.
    """
    prices, other_prices = _merge_prices(rows), _merge_prices(others)
    return prices is None or other_prices is None or prices.meets(other_prices)


def _merge_prices(rows: Iterable[FillRow]) -> PriceRange | None:
    """The prices of all rows; None where there is no row, or one whose prices are not known."""
    known = [row.prices for row in rows]
    ranges = [each for each in known if each is not None]
    if not ranges or len(ranges) < len(known):
        return None
    return PriceRange(min(each.lowest for each in ranges), max(each.highest for each in ranges))


def row_key(fill: LeaderFillSeen) -> RowKey:
    return RowKey(fill.source, fill.row_id, fill.row_type)


def find_earlier_slices(
    slices: Iterable[CopySlice], copy_slice: CopySlice
) -> tuple[CopySlice, ...]:
    """The slices of the trade that were made before this one and still count.

    A resent slice counts as traded, until a later slice covers the same shares: then it has turned
    out that they were not resent.
    """
    known = [each for each in slices if each.sequence <= copy_slice.sequence]
    return tuple(
        each
        for each in known
        if each.sequence < copy_slice.sequence
        and not (
            each.resent_of
            and any(each.overlaps(later) for later in known if later.sequence > each.sequence)
        )
    )
