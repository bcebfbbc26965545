"""Stores leaders' trades, that is their rows and copied slices, in PostgreSQL."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters.sizes import SizesRequest, load_sizes, record_sizes
from services.ingest.adapters.slices import (
    LOAD_SLICES,
    LOAD_SLICES_AND_RESENT,
    RECORD_SLICES,
    SLICES,
    SlicesByTrade,
    group_slices,
    parse_row_key,
    parse_slice,
    slice_values,
)
from services.ingest.decisions import (
    CLOCK_TOLERANCE,
    RESENT_WITHIN,
    CopySize,
    FillRow,
    OtherTrade,
    PriceRange,
    Reconciliation,
    RecordedSizes,
    RowKey,
    Trade,
    TradeContext,
    is_confirmed_and_not_copied,
)
from shared.db import tables
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.db.rows import Row as DatabaseRow
from shared.db.sql import Batch
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.messages.leader_fills import LeaderFillSeen

REQUESTS = Batch.from_table(
    tables.fills, "trade_id", "row_id", "leader", "token_id", "side", "filled_at", lookup="text"
)
"""What is loaded: the trade of a fill, with those neighbours that ``lookup`` asks for."""

PROVISIONAL = "provisional"
"""The ``lookup`` for all unconfirmed neighbours. Else it is the fill's source."""

NOT_CONFIRMED = """not exists (
            select from ingest.fills as confirming
            where confirming.trade_id = near.trade_id and confirming.source <> 'rtds'
            offset 0
        )"""

LOAD_FILLS = f"""
with requests as (
    select *,
           filled_at - cast(:resent_within as interval) as earliest,
           filled_at + cast(:resent_within as interval) as latest,
           filled_at - cast(:clock_tolerance as interval) as not_before
    from {REQUESTS.unnest("given")}
), included as (
    select trade_id as requested_id, trade_id from requests
    union
    select requests.trade_id, resent.resent_of
    from requests cross join lateral (
        select resent_of from ingest.copy_slices
        where copy_slices.trade_id = requests.trade_id
        offset 0
    ) as resent
    where resent.resent_of <> ''
    union
    select requests.trade_id, confirmed.trade_id
    from requests cross join lateral (
        select near.trade_id from ingest.fills as near
        where near.leader = requests.leader and near.token_id = requests.token_id
          and near.side = requests.side and near.source <> 'rtds'
          and near.filled_at between not_before and latest
        offset 0
    ) as confirmed
    where requests.lookup = 'rtds'
    union
    select requests.trade_id, equal.trade_id
    from requests cross join lateral (
        select near.trade_id from ingest.fills as near
        where near.leader = requests.leader and near.row_id = requests.row_id
          and near.token_id = requests.token_id and near.side = requests.side
          and near.source = 'rtds' and near.filled_at between earliest and latest
          and {NOT_CONFIRMED}
        offset 0
    ) as equal
    where requests.lookup = 'rtds'
    union
    select requests.trade_id, provisional.trade_id
    from requests cross join lateral (
        select near.trade_id from ingest.fills as near
        where near.leader = requests.leader and near.token_id = requests.token_id
          and near.side = requests.side and near.source = 'rtds'
          and near.filled_at between earliest and latest
          and {NOT_CONFIRMED}
        offset 0
    ) as provisional
    where requests.lookup = '{PROVISIONAL}'
)
select included.requested_id, fills.trade_id, fills.source, fills.row_id, fills.row_type,
       fills.shares, fills.awaits_confirmation, fills.lowest_price, fills.highest_price,
       coalesce(fills.filled_at, fills.seen_at) as filled_at
from included cross join lateral (
    select * from ingest.fills where fills.trade_id = included.trade_id
    offset 0
) as fills
"""
"""The rows of each requested trade, and of the trades of which it has resent slices. For a row of
the socket (``rtds``) also those of the neighbours that it may report: trades confirmed after its
match, and unconfirmed trades with an equal row. For ``provisional`` those of all unconfirmed
neighbours.

``offset 0`` keeps each part as it is written, one range of an index per request: joined as the
planner would estimate it, it may read all fills that ever were. That a slice is resent is asked
outside, or the planner may read the index of all resent ones for each request."""

LOAD_OTHERS = """
with others as (
    select trade_id, transaction_hash, side,
           coalesce(min(filled_at) filter (where source = 'rtds'), min(filled_at)) as matched_at,
           min(seen_at) as first_seen_at,
           max(filled_at) filter (where source <> 'rtds') as confirmed_at
    from (
        select * from ingest.fills
        where leader = :leader and token_id = :token_id and trade_id <> :trade_id
          and filled_at between cast(:filled_at as timestamptz) - cast(:resent_within as interval)
                            and cast(:filled_at as timestamptz) + cast(:resent_within as interval)
        offset 0
    ) as near
    group by trade_id, transaction_hash, side
)
select others.*, traded.shares
from others
join lateral (
    select case when others.confirmed_at is null
                then coalesce(sum(to_shares - from_shares)
                         filter (where trade_id = others.trade_id and resent_of = ''), 0)
                   - coalesce(sum(to_shares - from_shares)
                         filter (where resent_of = others.trade_id), 0)
                else coalesce(max(to_shares) filter (where trade_id = others.trade_id), 0)
           end as shares
    from ingest.copy_slices
    where trade_id = others.trade_id or (resent_of = others.trade_id and resent_of <> '')
) as traded on traded.shares > 0
"""
"""``offset 0``: grouped as the planner would, it may read all fills in the order of their trades.

The slices of a trade cover all of its shares. Those of an unconfirmed one that a confirmed one
took over are that one's."""

FILLS = Batch.from_table(tables.fills, *tables.fills.columns.keys())

RECORD_FILLS = f"""
insert into ingest.fills ({FILLS.names})
select * from {FILLS.unnest("given")}
on conflict do nothing
"""
RecordedFill = tuple[LeaderFillSeen, Reconciliation, Sequence[CopySize]]


class SliceConflict(Exception):
    """Another process recorded a slice of the same trade, or its size, first."""


class PostgresTrades:
    """Loads and records in groups: one statement for all fills that arrive at the same time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._load = GroupCommit(self._load_all)
        self._load_sizes = GroupCommit(self._load_all_sizes)
        self._record = GroupCommit(self._record_all)

    async def load(self, fill: LeaderFillSeen) -> TradeContext:
        return await self._load(fill)

    async def load_sizes(
        self, fill: LeaderFillSeen, follow_ids: AbstractSet[str], *, of_others: AbstractSet[str]
    ) -> RecordedSizes:
        return await self._load_sizes((fill, follow_ids, of_others))

    async def record(
        self,
        fill: LeaderFillSeen,
        reconciliation: Reconciliation,
        sizes: Sequence[CopySize] = (),
    ) -> None:
        try:
            await self._record((fill, reconciliation, sizes))
        except SliceConflict as error:
            raise Transient(
                "another process has recorded a slice of this trade: load it and decide again"
            ) from error

    async def load_others(self, fill: LeaderFillSeen) -> Sequence[OtherTrade]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(
                connection,
                LOAD_OTHERS,
                leader=fill.leader,
                token_id=fill.token_id,
                trade_id=fill.trade_id,
                filled_at=fill.filled_at,
                resent_within=RESENT_WITHIN,
            )
        return [
            OtherTrade(
                trade_id=row.trade_id,
                transaction_hash=row.transaction_hash,
                side=Side(row.side),
                shares=int(row.shares),
                matched_at=row.matched_at,
                first_seen_at=row.first_seen_at,
                confirmed_at=row.confirmed_at,
            )
            for row in rows
        ]

    async def _load_all(self, fills: Sequence[LeaderFillSeen]) -> list[TradeContext]:
        """Provisional neighbours are loaded only where they can matter: most confirmed trades were
        reported by the socket first, and are copied by then.
        """
        contexts = await self._load_contexts(fills, lookups=[fill.source.value for fill in fills])
        uncopied = [
            index
            for index, fill in enumerate(fills)
            if is_confirmed_and_not_copied(contexts[index], fill)
        ]
        if uncopied:
            provisional = await self._load_contexts(
                [fills[index] for index in uncopied], lookups=[PROVISIONAL] * len(uncopied)
            )
            for index, context in zip(uncopied, provisional, strict=True):
                contexts[index] = _with_neighbours(contexts[index], context)
        return contexts

    async def _load_all_sizes(self, requests: Sequence[SizesRequest]) -> list[RecordedSizes]:
        async with autocommit(self._engine) as connection:
            return await load_sizes(connection, requests)

    async def _load_contexts(
        self, fills: Sequence[LeaderFillSeen], *, lookups: Sequence[str]
    ) -> list[TradeContext]:
        """The context of each fill. ``lookups``: which neighbours, see LOAD_FILLS."""
        requests = [
            _fill_values(fill) | {"lookup": lookup}
            for fill, lookup in zip(fills, lookups, strict=True)
        ]
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(
                connection,
                LOAD_FILLS,
                resent_within=RESENT_WITHIN,
                clock_tolerance=CLOCK_TOLERANCE,
                **REQUESTS.parameters(requests),
            )
            trade_ids = list({row.trade_id for row in rows})
            slices = (
                await fetch_rows(connection, LOAD_SLICES_AND_RESENT, trade_ids=trade_ids)
                if trade_ids
                else []
            )
        rows_by_request: dict[str, dict[str, dict[RowKey, FillRow]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        for row in rows:
            rows_by_request[row.requested_id][row.trade_id][parse_row_key(row)] = _parse_row(row)
        slices_by_trade, resent_by_trade = group_slices(slices)
        return [
            _build_context(
                fill.trade_id,
                rows_by_request.get(fill.trade_id, {}),
                slices_by_trade,
                resent_by_trade,
            )
            for fill in fills
        ]

    async def _record_all(self, recorded: Sequence[RecordedFill]) -> list[None]:
        """Raises: SliceConflict, and then nothing of the group is stored.

        Every slice must be stored as it was decided: what is published follows from it.
        """
        slices = [
            (fill.trade_id, each)
            for fill, reconciliation, _ in recorded
            for each in reconciliation.slices
        ]
        sizes = [size for _, _, of_fill in recorded for size in of_fill]
        async with transaction(self._engine) as connection:
            rows = [_recorded_values(fill, decided) for fill, decided, _ in recorded]
            await fetch_rows(connection, RECORD_FILLS, **FILLS.parameters(rows))
            if slices:
                values = [slice_values(trade_id, each) for trade_id, each in slices]
                await fetch_rows(connection, RECORD_SLICES, **SLICES.parameters(values))
                stored = await fetch_rows(
                    connection, LOAD_SLICES, trade_ids=[trade_id for trade_id, _ in slices]
                )
                known = {(row.trade_id, parse_slice(row)) for row in stored}
                if not known.issuperset(slices):
                    raise SliceConflict
            if not await record_sizes(connection, sizes):
                raise SliceConflict
        return [None] * len(recorded)


RowsByTrade = Mapping[str, Mapping[RowKey, FillRow]]


def _build_context(
    trade_id: str, rows_by_trade: RowsByTrade, slices: SlicesByTrade, resent: SlicesByTrade
) -> TradeContext:
    ids = dict.fromkeys((trade_id, *rows_by_trade))
    trades = {
        each: Trade(
            trade_id=each, rows=rows_by_trade.get(each, {}), slices=tuple(slices.get(each, ()))
        )
        for each in ids
    }
    return TradeContext(
        trade=trades.pop(trade_id),
        neighbours=tuple(trades.values()),
        resent_slices=tuple(each for trade in ids for each in resent.get(trade, ())),
    )


def _with_neighbours(context: TradeContext, provisional: TradeContext) -> TradeContext:
    """The context, and those provisional neighbours that it does not have yet."""
    known = {other.trade_id for other in context.neighbours}
    new = tuple(other for other in provisional.neighbours if other.trade_id not in known)
    new_ids = {other.trade_id for other in new}
    resent = tuple(each for each in provisional.resent_slices if each.resent_of in new_ids)
    return TradeContext(
        trade=context.trade,
        neighbours=(*context.neighbours, *new),
        resent_slices=(*context.resent_slices, *resent),
    )


def _fill_values(fill: LeaderFillSeen) -> dict[str, Any]:
    return {
        "trade_id": fill.trade_id,
        "source": fill.source.value,
        "row_id": fill.row_id,
        "shares": fill.shares,
        "seen_at": fill.occurred_at,
        "leader": fill.leader,
        "transaction_hash": fill.transaction_hash,
        "token_id": fill.token_id,
        "side": fill.side.value,
        "filled_at": fill.filled_at,
        "row_type": fill.row_type,
    }


def _recorded_values(fill: LeaderFillSeen, reconciliation: Reconciliation) -> dict[str, Any]:
    row = reconciliation.row
    lowest, highest = row.prices or (None, None)
    return _fill_values(fill) | {
        "awaits_confirmation": row.awaits_confirmation,
        "lowest_price": lowest,
        "highest_price": highest,
    }


def _parse_row(row: DatabaseRow) -> FillRow:
    return FillRow(
        shares=row.shares,
        filled_at=row.filled_at,
        awaits_confirmation=row.awaits_confirmation,
        prices=None
        if row.lowest_price is None or row.highest_price is None
        else PriceRange(row.lowest_price, row.highest_price),
    )
