"""What of a leader's trade is new, and who copies it how? Pure.

A trade is known by its transaction. But the socket tells a fill before its settlement is in a
block, and a settlement that fails is sent again under another transaction (the venue's RETRYING):
then the socket's row names one, and the chain's log and the Data API's row, or the socket itself a
second time, name another. To copy both would be to copy one trade twice; to merge trades that
merely look alike would be to lose one. So the socket's word is taken as credit, and a row from the
chain or the Data API as proof:

- A trade that is proven copies only what goes beyond the open credit of its neighbours: what was
  copied, on the socket's word alone, of trades of the same leader, token and side within
  ``RESENT_WITHIN``. What it does not copy is recorded as *resent*, with its row.
- If the trade that gave the credit is proven itself, the two were two: the recorded row is told
  again, and copied then.
- A row of the socket that may tell again what another trade told, or what is proven without having
  been told, *waits*: it counts once its own transaction is proven.

So as much is copied as there must be: the larger of what was told and what is proven. Nobody asks
the chain and nothing blocks: the proof that decides is the row that comes anyway. Only what is in
doubt is late, by the time that its own row from the chain takes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.domain.follows import Follow
from shared.domain.ids import intent_id
from shared.domain.money import cost_floor, shares_for
from shared.messages.intents import Intent
from shared.messages.leader_fills import FillSource, LeaderFillSeen

DUST = 10_000
"""A hundredth of a share: two sources round differently, and no order is as small."""

RESENT_WITHIN = timedelta(minutes=10)
"""From a match to the block of its settlement, if that was sent again: for how long the venue goes
on trying is not documented."""

CLOCK_TOLERANCE = timedelta(seconds=3)
"""By so much a block may be dated earlier than the venue dates a match before it; both tell whole
seconds."""

CONFIRMING_SOURCES = frozenset({FillSource.CHAIN, FillSource.DATA})
"""Who tells only of what is in a block."""

RowKey = tuple[FillSource, str]
ShareRange = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    """A row of a feed, as it is kept."""

    shares: int
    filled_at: datetime
    awaits_confirmation: bool = False
    """It may tell what another trade told: it counts once its own transaction is proven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySlice:
    """A stretch of a trade's shares that is copied at one time: from ``from_shares`` up to
    ``to_shares``.
    """

    from_shares: int
    to_shares: int
    caused_by: RowKey
    """The row that made it known: handed to us again, that row gives the same part again."""
    controls_version: int
    intended_at: datetime
    resent_of: str = ""
    """The trade under which it was copied already, as far as one knows: then this part makes no
    copies. Empty: it makes them."""
    fill: LeaderFillSeen | None = None
    """Of a part that makes no copies: what is told again if that other trade is proven too."""

    @property
    def shares(self) -> int:
        return self.to_shares - self.from_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What is kept of one trade: each source's rows, and its parts."""

    trade_id: str
    rows: Mapping[RowKey, FillRow]
    slices: tuple[CopySlice, ...] = ()

    @property
    def socket_rows(self) -> Mapping[str, FillRow]:
        """The socket's rows."""
        return {
            row_id: row for (source, row_id), row in self.rows.items() if source is FillSource.RTDS
        }

    @property
    def first_seen_by_socket_at(self) -> datetime:
        return min(row.filled_at for row in self.socket_rows.values())

    @property
    def confirming_rows(self) -> Mapping[RowKey, FillRow]:
        return {key: row for key, row in self.rows.items() if key[0] in CONFIRMING_SOURCES}

    @property
    def confirmed_at(self) -> datetime | None:
        """When its transaction was in a block; None: nobody has said so."""
        return max((row.filled_at for row in self.confirming_rows.values()), default=None)

    @property
    def copied_shares(self) -> int:
        return sum(part.shares for part in self.slices if not part.resent_of)

    @property
    def total_shares(self) -> int:
        """Micro-shares that count."""
        return best_source_total(
            {
                key: row
                for key, row in self.rows.items()
                if self.confirmed_at is not None or not row.awaits_confirmation
            }
        )

    @property
    def is_confirmed_beyond_socket(self) -> bool:
        """Whether more of it is proven than the socket told."""
        return (
            best_source_total(self.confirming_rows)
            - sum(row.shares for row in self.socket_rows.values())
            > DUST
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeContext:
    """What is known of one trade and of its neighbours: trades of the same leader, token and side,
    close in time.
    """

    trade: Trade
    neighbours: tuple[Trade, ...] = ()
    resent_slices: tuple[CopySlice, ...] = ()
    """Of whichever trade, what is taken for the trade or for one of the others, sent again."""

    def provisional_shares(self, other: Trade) -> int:
        """Micro-shares that were copied of it on the socket's word, and that no proven trade is
        taken for yet.
        """
        taken = sum(part.shares for part in self.resent_slices if part.resent_of == other.trade_id)
        return other.copied_shares - taken if other.confirmed_at is None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What a row says that was not known."""

    row: FillRow
    slices: tuple[CopySlice, ...]
    """All that the row makes known, now or when it came before: those to copy, and those that were
    copied under another transaction."""
    reported_again: tuple[LeaderFillSeen, ...] = ()
    """Rows whose trades were taken for this one, and are not."""

    @property
    def to_copy(self) -> tuple[CopySlice, ...]:
        return tuple(part for part in self.slices if not part.resent_of)

    @property
    def resent(self) -> tuple[CopySlice, ...]:
        return tuple(part for part in self.slices if part.resent_of)


def best_source_total(rows: Mapping[RowKey, FillRow]) -> int:
    """Micro-shares of the rows as far as they are known: what the source who saw most of them saw.

    Each source's sum is a lower bound of the truth (the activity feed cannot tell two equal fills
    apart, the chain can), so the largest is one too, and it can only grow: whatever the order of
    the rows, the end is the same.
    """
    sums: dict[FillSource, int] = {}
    for (source, _), row in rows.items():
        sums[source] = sums.get(source, 0) + row.shares
    return max(sums.values(), default=0)


def row_key(fill: LeaderFillSeen) -> RowKey:
    return (fill.source, fill.row_id)


def reconcile(
    context: TradeContext, fill: LeaderFillSeen, *, controls_version: int, now: datetime
) -> Reconciliation:
    """What ``fill`` makes known: what it made known before, and what is new."""
    key, trade = row_key(fill), _with_row(context, fill)
    resent, new = _split_resent(
        _uncopied_ranges(trade, context), _provisional_by_trade(trade, context, at=fill.filled_at)
    )

    def part(stretch: ShareRange, resent_of: str = "") -> CopySlice:
        return CopySlice(
            from_shares=stretch[0],
            to_shares=stretch[1],
            caused_by=key,
            controls_version=controls_version,
            intended_at=now,
            resent_of=resent_of,
            fill=fill if resent_of else None,
        )

    known = tuple(part for part in trade.slices if part.caused_by == key)
    is_proof = fill.source in CONFIRMING_SOURCES
    return Reconciliation(
        row=trade.rows[key],
        slices=(
            *known,
            *(part(stretch, other) for stretch, other in resent),
            *(part(stretch) for stretch in new),
        ),
        reported_again=tuple(
            part.fill
            for part in context.resent_slices
            if is_proof and part.resent_of == trade.trade_id and part.fill is not None
        ),
    )


def is_confirmed_and_not_copied(context: TradeContext, fill: LeaderFillSeen) -> bool:
    """Whether there is something to copy if no neighbour has given credit for it."""
    trade = _with_row(context, fill)
    return trade.confirmed_at is not None and bool(_uncopied_ranges(trade, context))


def _with_row(context: TradeContext, fill: LeaderFillSeen) -> Trade:
    """The trade with the row as it is kept, or is to be kept."""
    trade, key = context.trade, row_key(fill)
    if key in trade.rows:
        return trade
    row = FillRow(
        shares=fill.shares,
        filled_at=fill.filled_at,
        awaits_confirmation=_may_be_resent(context, fill),
    )
    return replace(trade, rows={**trade.rows, key: row})


def _may_be_resent(gathered: TradeContext, fill: LeaderFillSeen) -> bool:
    """Whether a row of the socket may be one that it told, or one that is proven, under another
    transaction.
    """
    if fill.source in CONFIRMING_SOURCES or gathered.trade.confirmed_at is not None:
        return False
    return any(_may_be_same_trade(other, fill) for other in gathered.neighbours)


def _may_be_same_trade(other: Trade, fill: LeaderFillSeen) -> bool:
    """A match that the venue dates after the block of the other trade is another one."""
    is_repeated = fill.row_id in other.socket_rows
    if other.confirmed_at is None:
        return is_repeated and abs(other.first_seen_by_socket_at - fill.filled_at) <= RESENT_WITHIN
    return (
        is_repeated or other.is_confirmed_beyond_socket
    ) and -CLOCK_TOLERANCE <= other.confirmed_at - fill.filled_at <= RESENT_WITHIN


def _provisional_by_trade(trade: Trade, context: TradeContext, *, at: datetime) -> dict[str, int]:
    """Open credit by the trade that gave it, the oldest first; none for a trade that is not proven
    itself.
    """
    if trade.confirmed_at is None:
        return {}
    near = [
        other
        for other in context.neighbours
        if other.socket_rows and abs(other.first_seen_by_socket_at - at) <= RESENT_WITHIN
    ]
    oldest_first = sorted(near, key=lambda other: (other.first_seen_by_socket_at, other.trade_id))
    return {other.trade_id: context.provisional_shares(other) for other in oldest_first}


def _uncopied_ranges(trade: Trade, context: TradeContext) -> list[ShareRange]:
    """What of the trade is neither copied nor taken for another's; a rest that is dust is none."""
    proven = {other.trade_id for other in context.neighbours if other.confirmed_at is not None}
    standing = sorted(
        (part.from_shares, part.to_shares) for part in trade.slices if part.resent_of not in proven
    )
    gaps, reached, total = [], 0, trade.total_shares
    for start, end in [*standing, (total, total)]:
        gap = (reached, min(start, total))
        if gap[1] - gap[0] > (DUST if standing else 0):
            gaps.append(gap)
        reached = max(reached, end)
    return gaps


def _split_resent(
    gaps: Iterable[ShareRange], credit_of: Mapping[str, int]
) -> tuple[list[tuple[ShareRange, str]], list[ShareRange]]:
    """The stretches that credit pays for, each with who gave it, and the rest."""
    paid, rest = [], []
    left = dict(credit_of)
    for start, end in gaps:
        reached = start
        for other in credit_of:
            upto = min(end, reached + left[other])
            if upto - reached > DUST or reached < upto == end:
                paid.append(((reached, upto), other))
                left[other] -= upto - reached
                reached = upto
        if end - reached > (DUST if reached > start else 0):
            rest.append((reached, end))
    return paid, rest


def build_intents(
    copy_slice: CopySlice, fill: LeaderFillSeen, follows: Iterable[Follow]
) -> tuple[Intent, ...]:
    """One intent per follow, sized by its terms at the leader's price."""
    leader_usdc = cost_floor(copy_slice.shares, fill.price)
    return tuple(
        _intent(copy_slice, fill, follow, usdc=follow.sized(leader_usdc)) for follow in follows
    )


def _intent(part: CopySlice, fill: LeaderFillSeen, follow: Follow, *, usdc: int) -> Intent:
    return Intent(
        intent_id=intent_id(
            trade=fill.trade_id, from_shares=part.from_shares, follow_id=follow.follow_id
        ),
        proxy=follow.proxy,
        leader=fill.leader,
        follow_id=follow.follow_id,
        controls_version=part.controls_version,
        transaction_hash=fill.transaction_hash,
        token_id=fill.token_id,
        side=fill.side,
        leader_price=fill.price,
        leader_shares=part.shares,
        usdc=usdc,
        shares=shares_for(usdc, fill.price),
        filled_at=fill.filled_at,
        seen_at=fill.occurred_at,
        intended_at=part.intended_at,
        title=fill.title,
        outcome=fill.outcome,
    )
