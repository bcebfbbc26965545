"""Pure decisions: which part of a leader's trade is new, and which intents copy it.

A trade is identified by its transaction, but one trade can be reported under two. The activity
socket reports a match before its settlement is in a block. If that settlement fails, the venue
sends it again under another transaction (its state RETRYING). Then the socket's row names the first
one, and the chain's logs, the Data API and sometimes the socket too name the second one. To copy
both would copy one trade twice. To treat all trades that look alike as one would miss copies,
because a leader can make two equal trades within seconds. Therefore a trade is either

- provisional: only the socket has reported it. It is copied at once, so that copies are fast. Or
- confirmed: the chain's logs or the Data API have reported it, and they report only what is in a
  block.

Its neighbours are trades of the same leader, token and side, close in time. A match has the same
prices however often its settlement is sent: a neighbour at another price is never the same trade.
The chain and the Data API say at which prices a trade was matched with its first row, so that this
does not depend on the order of its rows. Three rules for neighbours that may have the same price:

1. When a trade is confirmed, provisional shares of neighbours within ``RESENT_WITHIN`` are counted
   against it first: they are probably the same trade. What they cover is recorded as *resent* and
   not copied again; only the rest is copied.
2. When that neighbour is confirmed too, the two were different trades after all. The row that was
   recorded with the resent slice is published again, and its shares are copied then.
3. A socket row that may report a trade known under another transaction (an equal row of the same
   match time was reported before, or a neighbour has confirmed shares that the socket did not
   report) is stored and *awaits confirmation*: it counts once its own transaction is confirmed.

Example 1. A leader buys 100 shares; transaction A fails, and the settlement is resent as B.

    row                         what happens                                     copied in all
    socket: A, 100              A is provisional: 100 are copied                           100
    socket: B, 100              equal to A's row: it awaits confirmation                   100
    chain:  B, 100              A has 100 provisional shares: B's 100 are resent           100

Example 2. The leader buys 100 shares twice; the socket misses the second trade.

    row                         what happens                                     copied in all
    socket: A, 100              A is provisional: 100 are copied                           100
    chain:  B, 100              A has 100 provisional shares: B's 100 are resent           100
    chain:  A, 100              A is confirmed too: B's row is published again             100
    chain:  B, 100 (again)      no provisional shares are left: 100 are copied             200

In the end the larger of what was reported provisionally and what is confirmed has been copied,
whatever the order of the rows. Nothing waits for a question to the chain: the confirming row
arrives anyway. Only an ambiguous row is copied late, when its own transaction is confirmed.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.ingest.decisions.trades import (
    CLOCK_TOLERANCE,
    CONFIRMING_SOURCES,
    RESENT_WITHIN,
    CopySlice,
    FillRow,
    ShareRange,
    Trade,
    TradeContext,
    list_prices,
    may_have_same_price,
    row_key,
)
from shared.domain.money import ROUNDING_TOLERANCE_SHARES, cost_floor
from shared.messages.leader_fills import LeaderFillSeen


class RepeatedRows(StrEnum):
    """Which rows of the socket wait because an equal row was reported under another transaction."""

    SPEED = "speed"
    """Those of the same second: the venue sends a settlement again with the time of its match. A
    row with another time is another trade, and is copied at once."""
    CAUTION = "caution"
    """All within ``RESENT_WITHIN``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What is new because of one row."""

    row: FillRow
    slices: tuple[CopySlice, ...]
    """All slices that the message led to, now or in an earlier delivery: those to copy, and the
    resent ones."""
    reported_again: tuple[LeaderFillSeen, ...] = ()
    """Rows of other trades that were taken for this trade, resent, and turned out not to be: to be
    published again."""

    @property
    def to_copy(self) -> tuple[CopySlice, ...]:
        return tuple(each for each in self.slices if not each.resent_of)

    @property
    def resent(self) -> tuple[CopySlice, ...]:
        return tuple(each for each in self.slices if each.resent_of)


def reconcile(
    context: TradeContext,
    fill: LeaderFillSeen,
    *,
    controls_version: int,
    now: datetime,
    repeated_rows: RepeatedRows = RepeatedRows.SPEED,
) -> Reconciliation:
    """The slices of ``fill``: those of an earlier delivery of the same message, and those that are
    new; and the rows that must be published again because of it.
    """
    key, trade = row_key(fill), _with_row(context, fill, repeated_rows)
    resent, new = _split_resent(
        _uncopied_ranges(trade, context), _provisional_by_trade(trade, context, at=fill.filled_at)
    )

    def new_slice(sequence: int, share_range: ShareRange, resent_of: str = "") -> CopySlice:
        return CopySlice(
            sequence=sequence,
            from_shares=share_range[0],
            to_shares=share_range[1],
            caused_by=key,
            controls_version=controls_version,
            intended_at=now,
            resent_of=resent_of,
            fill=fill if resent_of else None,
            seen_at=fill.occurred_at,
            leader_usdc=cost_floor(share_range[1] - share_range[0], fill.price),
        )

    numbers = itertools.count(len(trade.slices))

    return Reconciliation(
        row=trade.rows[key],
        slices=(
            *(each for each in trade.slices if each.caused_by == key and _carries(fill, each)),
            *(new_slice(next(numbers), *each) for each in resent),
            *(new_slice(next(numbers), share_range) for share_range in new),
        ),
        reported_again=_wrongly_resent(trade, context) if _confirms(fill) else (),
    )


def merge_slices(context: TradeContext, reconciliation: Reconciliation) -> tuple[CopySlice, ...]:
    """All slices of the trade in their sequence: the stored and the new ones."""
    by_sequence = {each.sequence: each for each in (*context.trade.slices, *reconciliation.slices)}
    return tuple(by_sequence[number] for number in sorted(by_sequence))


def find_new_slices(context: TradeContext, reconciliation: Reconciliation) -> tuple[CopySlice, ...]:
    """The slices to copy that are not stored yet."""
    stored = {each.sequence for each in context.trade.slices}
    return tuple(each for each in reconciliation.to_copy if each.sequence not in stored)


def has_waited(context: TradeContext, new: CopySlice) -> bool:
    """Whether a new slice was held back first: as a row that awaited confirmation, or as resent."""
    return any(row.awaits_confirmation for row in context.trade.rows.values()) or any(
        each.resent_of and each.overlaps(new) for each in context.trade.slices
    )


def is_confirmed_and_not_copied(context: TradeContext, fill: LeaderFillSeen) -> bool:
    """Whether the trade, with ``fill``, is confirmed and has shares to copy, unless they were
    copied as a neighbour. Provisional shares of neighbours matter only then.
    """
    # Only a row that does not confirm may be a repeated one.
    trade = _with_row(context, fill, RepeatedRows.CAUTION)
    return trade.confirmed_at is not None and bool(_uncopied_ranges(trade, context))


def _carries(fill: LeaderFillSeen, copy_slice: CopySlice) -> bool:
    """Whether this is the message that led to the slice, delivered again. Another message of the
    same row (of another feed or instance, or of the same feed after a restart) is not.

    Kafka delivers that message until its intents are published, so no other needs to make them.
    """
    return copy_slice.seen_at is None or copy_slice.seen_at == fill.occurred_at


def _confirms(fill: LeaderFillSeen) -> bool:
    return fill.source in CONFIRMING_SOURCES


def _with_row(context: TradeContext, fill: LeaderFillSeen, repeated_rows: RepeatedRows) -> Trade:
    """The trade with the row of ``fill``: the stored one, or the one that is to be stored."""
    trade, key = context.trade, row_key(fill)
    if key in trade.rows:
        return trade
    row = FillRow(shares=fill.shares, filled_at=fill.filled_at, prices=list_prices(fill))
    if _may_be_resent(context, fill, row, repeated_rows):
        row = replace(row, awaits_confirmation=True)
    return replace(trade, rows={**trade.rows, key: row})


def _wrongly_resent(trade: Trade, context: TradeContext) -> tuple[LeaderFillSeen, ...]:
    """The rows that were taken for this trade, resent, before it was confirmed."""
    return tuple(
        each.fill
        for each in context.resent_slices
        if each.resent_of == trade.trade_id and each.fill is not None
    )


def _may_be_resent(
    context: TradeContext, fill: LeaderFillSeen, row: FillRow, repeated_rows: RepeatedRows
) -> bool:
    """Whether a row of the socket may report a trade that is known under another transaction."""
    if _confirms(fill) or context.trade.confirmed_at is not None:
        return False
    return any(_may_be_same_trade(other, fill, row, repeated_rows) for other in context.neighbours)


def _may_be_same_trade(
    other: Trade, fill: LeaderFillSeen, row: FillRow, repeated_rows: RepeatedRows
) -> bool:
    """Whether the socket's row may report the other trade. It cannot if the venue dates its match
    after the block of the other trade.
    """
    is_repeated = _is_repeated(other, fill, repeated_rows)
    if other.confirmed_at is None:
        return is_repeated and abs(other.first_seen_by_socket_at - fill.filled_at) <= RESENT_WITHIN
    settled_after = other.confirmed_at - fill.filled_at
    is_missing = other.is_confirmed_beyond_socket and may_have_same_price(
        other.confirming_rows.values(), [row]
    )
    return (is_repeated or is_missing) and -CLOCK_TOLERANCE <= settled_after <= RESENT_WITHIN


def _is_repeated(other: Trade, fill: LeaderFillSeen, repeated_rows: RepeatedRows) -> bool:
    """Whether the socket has reported an equal row of the other trade, and of the same match as
    far as the setting asks for that.
    """
    return any(
        key.row_id == fill.row_id
        and (repeated_rows is RepeatedRows.CAUTION or row.filled_at == fill.filled_at)
        for key, row in other.socket_rows.items()
    )


def _provisional_by_trade(trade: Trade, context: TradeContext, *, at: datetime) -> dict[str, int]:
    """The provisional shares of each neighbour that can be the same match, by its trade id, the
    oldest first; empty as long as the trade itself is not confirmed.
    """
    if trade.confirmed_at is None:
        return {}
    near = [
        other
        for other in context.neighbours
        if other.socket_rows
        and abs(other.first_seen_by_socket_at - at) <= RESENT_WITHIN
        and may_have_same_price(trade.confirming_rows.values(), other.provisional_rows)
    ]
    oldest_first = sorted(near, key=lambda other: (other.first_seen_by_socket_at, other.trade_id))
    return {other.trade_id: context.provisional_shares(other) for other in oldest_first}


def _uncopied_ranges(trade: Trade, context: TradeContext) -> list[ShareRange]:
    """The share ranges of the trade that no slice covers.

    Beside a covered range, what is within ROUNDING_TOLERANCE_SHARES is left out.

    A slice that is resent of a neighbour covers nothing once that neighbour is confirmed.
    """
    confirmed = {other.trade_id for other in context.neighbours if other.confirmed_at is not None}
    covered = sorted(
        (each.from_shares, each.to_shares)
        for each in trade.slices
        if each.resent_of not in confirmed
    )
    ranges, reached, total = [], 0, trade.total_shares
    for start, end in [*covered, (total, total)]:
        gap = (reached, min(start, total))
        if gap[1] - gap[0] > (ROUNDING_TOLERANCE_SHARES if covered else 0):
            ranges.append(gap)
        reached = max(reached, end)
    return ranges


def _split_resent(
    ranges: Iterable[ShareRange], provisional_by_trade: Mapping[str, int]
) -> tuple[list[tuple[ShareRange, str]], list[ShareRange]]:
    """The share ranges that provisional shares of other trades cover, each with that trade's id;
    and the remaining ones, which are to be copied.
    """
    resent, new = [], []
    left = dict(provisional_by_trade)
    for start, end in ranges:
        reached = start
        for trade_id in provisional_by_trade:
            up_to = min(end, reached + left[trade_id])
            if up_to - reached > ROUNDING_TOLERANCE_SHARES or reached < up_to == end:
                resent.append(((reached, up_to), trade_id))
                left[trade_id] -= up_to - reached
                reached = up_to
        if end - reached > (ROUNDING_TOLERANCE_SHARES if reached > start else 0):
            new.append((reached, end))
    return resent, new
