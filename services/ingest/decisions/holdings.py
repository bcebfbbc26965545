"""What the leader held of a token right before he sold it.

An exit sells the proportion that the leader sold of what he held, and the activity socket reports
his trades before they are settled. So what he held is the balance in some block, and what his
trades changed that come before this one and are not in that block yet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.ingest.decisions.reconciliation import (
    Reconciliation,
    find_new_slices,
    merge_slices,
)
from services.ingest.decisions.trades import (
    CLOCK_TOLERANCE,
    TradeContext,
    find_earlier_slices,
    row_key,
)
from shared.domain.money import Side
from shared.messages.leader_fills import LeaderFillSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTrade:
    """Another trade of the same leader and token, of either side."""

    trade_id: str
    transaction_hash: str
    side: Side
    shares: int
    """Micro-shares, less those that were settled under another transaction."""
    matched_at: datetime
    """The time of its match; where the socket has not reported it, that of its block."""
    first_seen_at: datetime
    confirmed_at: datetime | None
    """The time of its block; None while no source has confirmed it."""

    @property
    def change(self) -> int:
        """By how many micro-shares the trade changes what the leader holds."""
        return self.shares if self.side is Side.BUY else -self.shares

    def may_be_missing(self, fill: LeaderFillSeen, *, block_at: datetime) -> bool:
        """Whether the trade may be in no block, in a later one than that of ``block_at``, or in a
        later one than the trade of ``fill``.
        """
        return self.confirmed_at is None or self.confirmed_at >= min(
            block_at, fill.filled_at - CLOCK_TOLERANCE
        )


def needs_holdings(context: TradeContext, reconciliation: Reconciliation) -> bool:
    """Whether a slice of a sale is new, and no slice of the trade says what the leader held."""
    return bool(find_new_slices(context, reconciliation)) and _held_before_trade(context) is None


def select_earlier_trades(
    context: TradeContext,
    fill: LeaderFillSeen,
    reconciliation: Reconciliation,
    others: Sequence[OtherTrade],
) -> tuple[OtherTrade, ...]:
    """Those of the others that come before the trade of ``fill``: by the time of the match, then by
    when they were first seen. Shares of them that the trade has settled do not count.
    """
    trade = replace(context.trade, rows={**context.trade.rows, row_key(fill): reconciliation.row})
    rows = trade.socket_rows or trade.rows
    matched_at = min(row.filled_at for row in rows.values())
    settled = {
        other.trade_id: sum(
            each.shares
            for each in reconciliation.resent
            if each.resent_of == other.trade_id and each not in context.trade.slices
        )
        for other in others
    }
    return tuple(
        replace(other, shares=max(0, other.shares - settled[other.trade_id]))
        for other in others
        if (other.matched_at, other.first_seen_at) <= (matched_at, fill.occurred_at)
    )


def sum_missing_changes(
    mined_in: Iterable[tuple[OtherTrade, int | None]], *, block_number: int
) -> int:
    """By how many micro-shares the trades change the balance that they are missing from.

    ``mined_in``: each trade with the number of its block; None: it is in none. Those up to
    ``block_number`` are in the balance.
    """
    return sum(
        trade.change for trade, number in mined_in if number is None or number > block_number
    )


def with_held_shares(
    context: TradeContext, reconciliation: Reconciliation, *, held_before: int | None
) -> Reconciliation:
    """The reconciliation whose new slices of a sale say what the leader held before each.

    ``held_before``: what he held before the trade; None where a slice of the trade says so. It is
    at least what the trade sold: if he seems to have held less, he has sold all.
    """
    known = _held_before_trade(context) if held_before is None else held_before
    slices = merge_slices(context, reconciliation)
    new = find_new_slices(context, reconciliation)
    if known is None or not new:
        return reconciliation
    last = max(new, key=lambda each: each.sequence)
    sold = sum(each.shares for each in find_earlier_slices(slices, last)) + last.shares
    held = {
        each.sequence: max(known, sold)
        - sum(earlier.shares for earlier in find_earlier_slices(slices, each))
        for each in new
    }
    return replace(
        reconciliation,
        slices=tuple(
            replace(each, leader_held_shares=held[each.sequence]) if each.sequence in held else each
            for each in reconciliation.slices
        ),
    )


def _held_before_trade(context: TradeContext) -> int | None:
    """What the leader held before the trade, as its stored slices say; None where none does."""
    slices = context.trade.slices
    return next(
        (
            each.leader_held_shares
            + sum(earlier.shares for earlier in find_earlier_slices(slices, each))
            for each in slices
            if each.leader_held_shares is not None
        ),
        None,
    )
