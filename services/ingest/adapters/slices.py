"""Slices of leaders' trades as rows of ``ingest.copy_slices``."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Row as DatabaseRow

from services.ingest.decisions import CopySlice, RowKey
from shared.db import tables
from shared.db.sql import Batch
from shared.messages.leader_fills import FillSource, LeaderFillSeen

LOAD_SLICES = """
select * from ingest.copy_slices where trade_id = any(cast(:trade_ids as text[]))
order by trade_id, from_shares, resent_of
"""
LOAD_SLICES_AND_RESENT = """
select * from ingest.copy_slices where trade_id = any(cast(:trade_ids as text[]))
union
select * from ingest.copy_slices
where resent_of = any(cast(:trade_ids as text[])) and resent_of <> ''
order by trade_id, from_shares, resent_of
"""

SLICES = Batch.from_table(tables.copy_slices, *tables.copy_slices.columns.keys())
RECORD_SLICES = f"""
insert into ingest.copy_slices ({SLICES.names})
select * from {SLICES.unnest("given")}
on conflict do nothing
"""

SlicesByTrade = Mapping[str, Sequence[CopySlice]]


def group_slices(rows: Iterable[DatabaseRow[Any]]) -> tuple[SlicesByTrade, SlicesByTrade]:
    """The slices by their own trade, and the resent ones by the trade that they are resent of."""
    own: dict[str, list[CopySlice]] = defaultdict(list)
    resent: dict[str, list[CopySlice]] = defaultdict(list)
    for row in rows:
        parsed = parse_slice(row)
        own[row.trade_id].append(parsed)
        if parsed.resent_of:
            resent[parsed.resent_of].append(parsed)
    return own, resent


def slice_values(trade_id: str, copy_slice: CopySlice) -> dict[str, Any]:
    source, row_id, row_type = copy_slice.caused_by
    return {
        "trade_id": trade_id,
        "from_shares": copy_slice.from_shares,
        "to_shares": copy_slice.to_shares,
        "source": source.value,
        "row_id": row_id,
        "row_type": row_type,
        "controls_version": copy_slice.controls_version,
        "intended_at": copy_slice.intended_at,
        "resent_of": copy_slice.resent_of,
        "fill": None if copy_slice.fill is None else copy_slice.fill.model_dump_json(),
        "sequence": copy_slice.sequence,
        "seen_at": copy_slice.seen_at,
        "has_dated_ids": copy_slice.has_dated_ids,
        "leader_usdc": copy_slice.leader_usdc,
        "leader_held_shares": copy_slice.leader_held_shares,
    }


def parse_row_key(row: DatabaseRow[Any]) -> RowKey:
    return RowKey(FillSource(row.source), row.row_id, row.row_type)


def parse_slice(row: DatabaseRow[Any]) -> CopySlice:
    return CopySlice(
        from_shares=row.from_shares,
        to_shares=row.to_shares,
        caused_by=parse_row_key(row),
        controls_version=row.controls_version,
        intended_at=row.intended_at,
        resent_of=row.resent_of,
        fill=None if row.fill is None else LeaderFillSeen.model_validate_json(row.fill),
        sequence=row.sequence,
        seen_at=row.seen_at,
        has_dated_ids=row.has_dated_ids,
        leader_usdc=row.leader_usdc,
        leader_held_shares=row.leader_held_shares,
    )
