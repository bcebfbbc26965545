"""What is kept of leaders' trades, in PostgreSQL."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row as Found
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.decisions import (
    CLOCK_TOLERANCE,
    RESENT_WITHIN,
    CopySlice,
    Reconciliation,
    FillRow,
    RowKey,
    Trade,
    TradeContext,
    is_confirmed_and_not_copied,
)
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.domain.errors import Transient
from shared.messages.leader_fills import FillSource, LeaderFillSeen

LOAD_FILLS = """
with asked as (
    select *, moment - cast(:within as interval) as earliest, moment + cast(:within as interval) as latest,
           moment - cast(:clocks_differ as interval) as not_before
    from unnest(cast(:trades as text[]), cast(:reasons as text[]), cast(:rows as text[]), cast(:leaders as text[]),
                cast(:tokens as text[]), cast(:sides as text[]), cast(:moments as timestamptz[]))
         as asked(trade_id, reason, row_id, leader, token_id, side, moment)
), gathered as (
    select trade_id as asked, trade_id from asked
    union
    select asked.trade_id, copy_slices.resent_of from asked join ingest.copy_slices using (trade_id) where copy_slices.resent_of <> ''
    union
    select asked.trade_id, near.trade_id from asked join ingest.fills as near using (leader, token_id, side)
    where asked.reason = 'rtds' and near.source <> 'rtds' and near.filled_at between not_before and latest
    union
    select asked.trade_id, near.trade_id from asked join ingest.fills as near using (leader, row_id, token_id, side)
    where asked.reason = 'rtds' and near.source = 'rtds' and near.filled_at between earliest and latest
      and not exists (select from ingest.fills as proof where proof.trade_id = near.trade_id and proof.source <> 'rtds')
    union
    select asked.trade_id, near.trade_id from asked join ingest.fills as near using (leader, token_id, side)
    where asked.reason = 'credit' and near.source = 'rtds' and near.filled_at between earliest and latest
      and not exists (select from ingest.fills as proof where proof.trade_id = near.trade_id and proof.source <> 'rtds')
)
select gathered.asked, fills.trade_id, fills.source, fills.row_id, fills.shares, fills.awaits_confirmation,
       coalesce(fills.filled_at, fills.seen_at) as filled_at
from gathered join ingest.fills using (trade_id)
"""
"""The rows of each trade and of those that it is taken for. For a row of the socket (``rtds``),
also of the neighbours that may be the same: those that were in a block after its match, and those
that told the same row and are in none. For ``credit``: of all neighbours that are in none."""

LOAD_SLICES = "select * from ingest.copy_slices where trade_id = any(cast(:trades as text[])) order by trade_id, from_shares, resent_of"
LOAD_SLICES_AND_RESENT = """
select * from ingest.copy_slices where trade_id = any(cast(:trades as text[]))
union
select * from ingest.copy_slices where resent_of = any(cast(:trades as text[])) and resent_of <> ''
order by trade_id, from_shares, resent_of
"""
RECORD_FILLS = text("""
insert into ingest.fills (trade_id, source, row_id, shares, seen_at, leader, transaction_hash, token_id, side, filled_at, awaits_confirmation)
select * from unnest(cast(:trades as text[]), cast(:sources as text[]), cast(:rows as text[]), cast(:shares as bigint[]),
                     cast(:seen as timestamptz[]), cast(:leaders as text[]), cast(:transactions as text[]), cast(:tokens as text[]),
                     cast(:sides as text[]), cast(:filled as timestamptz[]), cast(:waiting as boolean[]))
on conflict do nothing
""")
RECORD_SLICES = text("""
insert into ingest.copy_slices (trade_id, from_shares, to_shares, source, row_id, controls_version, intended_at, resent_of, fill)
select * from unnest(cast(:trades as text[]), cast(:froms as bigint[]), cast(:tos as bigint[]), cast(:sources as text[]),
                     cast(:rows as text[]), cast(:versions as bigint[]), cast(:at as timestamptz[]), cast(:resent_of as text[]),
                     cast(:fills as text[]))
on conflict do nothing
""")

RecordedFill = tuple[LeaderFillSeen, Reconciliation]


class SliceConflict(Exception):
    """Another process recorded a part of the same trade first."""


class PostgresTrades:
    """Reads and writes go out in groups, one statement each for all leaders that trade at the time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._load = GroupCommit(self._load_all)
        self._record = GroupCommit(self._record_all)

    async def load(self, fill: LeaderFillSeen) -> TradeContext:
        return await self._load(fill)

    async def record(self, fill: LeaderFillSeen, reconciliation: Reconciliation) -> None:
        try:
            await self._record((fill, reconciliation))
        except SliceConflict as error:
            raise Transient(
                "another process has recorded a part of this trade: look again"
            ) from error

    async def _load_all(self, asked: Sequence[LeaderFillSeen]) -> list[TradeContext]:
        """Credit is looked for only where there is something to pay: what the socket told first is
        copied by the time of its proof.
        """
        found = await self._load_contexts(asked, reasons=[fill.source.value for fill in asked])
        in_need = [
            number
            for number, fill in enumerate(asked)
            if is_confirmed_and_not_copied(found[number], fill)
        ]
        if in_need:
            lenders = await self._load_contexts(
                [asked[number] for number in in_need], reasons=["credit"] * len(in_need)
            )
            for number, lender in zip(in_need, lenders, strict=True):
                found[number] = _with_provisional(found[number], lender)
        return found

    async def _load_contexts(
        self, asked: Sequence[LeaderFillSeen], *, reasons: Sequence[str]
    ) -> list[TradeContext]:
        """Each fill's trade and the others that matter to it. ``reasons``: see LOAD_FILLS."""
        columns = _asked_columns(asked) | {"reasons": list(reasons)}
        async with autocommit(self._engine) as connection:
            fills = await fetch_rows(
                connection,
                LOAD_FILLS,
                within=RESENT_WITHIN,
                clocks_differ=CLOCK_TOLERANCE,
                **columns,
            )
            trades = list({row.trade_id for row in fills})
            parts = (
                await fetch_rows(connection, LOAD_SLICES_AND_RESENT, trades=trades)
                if trades
                else []
            )
        found: dict[str, dict[str, dict[RowKey, FillRow]]] = defaultdict(lambda: defaultdict(dict))
        for row in fills:
            found[row.asked][row.trade_id][_parse_row_key(row)] = FillRow(
                shares=row.shares,
                filled_at=row.filled_at,
                awaits_confirmation=row.awaits_confirmation,
            )
        parts_by_trade, resent_by_trade = _by_trade(parts)
        return [
            _build_context(
                fill.trade_id, found.get(fill.trade_id, {}), parts_by_trade, resent_by_trade
            )
            for fill in asked
        ]

    async def _record_all(self, recordings: Sequence[RecordedFill]) -> list[None]:
        """Raises: PartTaken, and nothing of the group is kept."""
        parts = [(fill.trade_id, part) for fill, finding in recordings for part in finding.slices]
        async with transaction(self._engine) as connection:
            await connection.execute(RECORD_FILLS, _fill_columns(recordings))
            if parts:
                await connection.execute(RECORD_SLICES, _part_columns(parts))
                standing = await fetch_rows(
                    connection, LOAD_SLICES, trades=[trade for trade, _ in parts]
                )
                known = {
                    (row.trade_id, row.from_shares, row.resent_of): _parse_row_key(row)
                    for row in standing
                }
                if any(
                    known[trade, part.from_shares, part.resent_of] != part.caused_by
                    for trade, part in parts
                ):
                    raise SliceConflict
        return [None] * len(recordings)


RowsByTrade = Mapping[str, Mapping[RowKey, FillRow]]
PartsByTrade = Mapping[str, Sequence[CopySlice]]


def _by_trade(parts: Iterable[Found[Any]]) -> tuple[PartsByTrade, PartsByTrade]:
    """The parts of each trade, and those that are taken for each trade, sent again."""
    own: dict[str, list[CopySlice]] = defaultdict(list)
    resent: dict[str, list[CopySlice]] = defaultdict(list)
    for row in parts:
        part = _parse_slice(row)
        own[row.trade_id].append(part)
        if part.resent_of:
            resent[part.resent_of].append(part)
    return own, resent


def _build_context(
    trade_id: str, rows_by_trade: RowsByTrade, parts: PartsByTrade, resent: PartsByTrade
) -> TradeContext:
    ids = dict.fromkeys((trade_id, *rows_by_trade))
    trades = {
        each: Trade(
            trade_id=each, rows=rows_by_trade.get(each, {}), slices=tuple(parts.get(each, ()))
        )
        for each in ids
    }
    return TradeContext(
        trade=trades.pop(trade_id),
        neighbours=tuple(trades.values()),
        resent_slices=tuple(part for each in ids for part in resent.get(each, ())),
    )


def _with_provisional(gathered: TradeContext, lenders: TradeContext) -> TradeContext:
    """The trade as it was gathered, with the lenders among its neighbours."""
    known = {other.trade_id for other in gathered.neighbours}
    new = tuple(other for other in lenders.neighbours if other.trade_id not in known)
    resent_of_new = {other.trade_id for other in new}
    resent = tuple(part for part in lenders.resent_slices if part.resent_of in resent_of_new)
    return TradeContext(
        trade=gathered.trade,
        neighbours=(*gathered.neighbours, *new),
        resent_slices=(*gathered.resent_slices, *resent),
    )


def _asked_columns(asked: Sequence[LeaderFillSeen]) -> dict[str, list[Any]]:
    return {
        "trades": [fill.trade_id for fill in asked],
        "rows": [fill.row_id for fill in asked],
        "leaders": [fill.leader for fill in asked],
        "tokens": [fill.token_id for fill in asked],
        "sides": [fill.side.value for fill in asked],
        "moments": [fill.filled_at for fill in asked],
    }


def _fill_columns(recordings: Sequence[RecordedFill]) -> dict[str, list[Any]]:
    fills = [fill for fill, _ in recordings]
    return {
        "trades": [fill.trade_id for fill in fills],
        "sources": [fill.source.value for fill in fills],
        "rows": [fill.row_id for fill in fills],
        "shares": [fill.shares for fill in fills],
        "seen": [fill.occurred_at for fill in fills],
        "leaders": [fill.leader for fill in fills],
        "transactions": [fill.transaction_hash for fill in fills],
        "tokens": [fill.token_id for fill in fills],
        "sides": [fill.side.value for fill in fills],
        "filled": [fill.filled_at for fill in fills],
        "waiting": [finding.row.awaits_confirmation for _, finding in recordings],
    }


def _part_columns(parts: Sequence[tuple[str, CopySlice]]) -> dict[str, list[Any]]:
    return {
        "trades": [trade for trade, _ in parts],
        "froms": [part.from_shares for _, part in parts],
        "tos": [part.to_shares for _, part in parts],
        "sources": [part.caused_by[0].value for _, part in parts],
        "rows": [part.caused_by[1] for _, part in parts],
        "versions": [part.controls_version for _, part in parts],
        "at": [part.intended_at for _, part in parts],
        "resent_of": [part.resent_of for _, part in parts],
        "fills": [None if part.fill is None else part.fill.model_dump_json() for _, part in parts],
    }


def _parse_row_key(row: Found[Any]) -> RowKey:
    return (FillSource(row.source), row.row_id)


def _parse_slice(row: Found[Any]) -> CopySlice:
    return CopySlice(
        from_shares=row.from_shares,
        to_shares=row.to_shares,
        caused_by=_parse_row_key(row),
        controls_version=row.controls_version,
        intended_at=row.intended_at,
        resent_of=row.resent_of,
        fill=None if row.fill is None else LeaderFillSeen.model_validate_json(row.fill),
    )
