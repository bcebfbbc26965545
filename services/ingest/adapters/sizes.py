"""Stores the sizes of copies that rest on more than their own trade, in PostgreSQL."""

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.engine import Row as DatabaseRow
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest.decisions import CopySize, Lot, RecordedSizes, SizeState
from shared.db import tables
from shared.db.engine import Connection, fetch_rows
from shared.db.sql import Batch
from shared.domain.terms import Equities
from shared.messages.leader_fills import LeaderFillSeen

LOTS: TypeAdapter[tuple[Lot, ...]] = TypeAdapter(tuple[Lot, ...])

SIZES = Batch.from_table(tables.copy_sizes, *tables.copy_sizes.columns.keys())
LINES = Batch.from_table(tables.copy_sizes, "follow_id", "token_id")

RECORD = f"""
insert into ingest.copy_sizes ({SIZES.names})
select * from {SIZES.unnest("given")}
on conflict do nothing
"""
LOAD_OF_TRADES = "select * from ingest.copy_sizes where trade_id = any(cast(:trade_ids as text[]))"
LOAD_LATEST = f"""
select latest.*
from {LINES.unnest("given")}
cross join lateral (
    select * from ingest.copy_sizes
    where follow_id = given.follow_id and token_id = given.token_id
    order by number desc
    limit 1
) as latest
"""

SizesRequest = tuple[LeaderFillSeen, AbstractSet[str], AbstractSet[str]]
"""A fill, the ids of the follows of its leader, and those of other trades."""


async def load_sizes(
    connection: Connection, requests: Sequence[SizesRequest]
) -> list[RecordedSizes]:
    """The recorded sizes of each fill's trade and of the other trades, and the last ones of its
    follows in its token.
    """
    lines = {(follow_id, fill.token_id) for fill, ids, _ in requests for follow_id in ids}
    trade_ids = {each for fill, _, others in requests for each in (fill.trade_id, *others)}
    latest = await fetch_rows(
        connection,
        LOAD_LATEST,
        **LINES.parameters(
            [{"follow_id": follow_id, "token_id": token_id} for follow_id, token_id in lines]
        ),
    )
    by_line = {(row.follow_id, row.token_id): _parse(row) for row in latest}
    by_trade: dict[str, list[CopySize]] = defaultdict(list)
    for size in await load_sizes_of_trades(connection, sorted(trade_ids)):
        by_trade[size.trade_id].append(size)
    return [
        RecordedSizes(
            by_slice={
                (size.sequence, size.follow_id): size for size in by_trade.get(fill.trade_id, ())
            },
            latest_by_follow={
                follow_id: by_line[follow_id, fill.token_id]
                for follow_id in ids
                if (follow_id, fill.token_id) in by_line
            },
            of_others=frozenset(size for each in others for size in by_trade.get(each, ())),
        )
        for fill, ids, others in requests
    ]


async def load_sizes_of_trades(connection: Connection, trade_ids: Sequence[str]) -> list[CopySize]:
    rows = await fetch_rows(connection, LOAD_OF_TRADES, trade_ids=list(trade_ids))
    return [_parse(row) for row in rows]


async def record_sizes(connection: AsyncConnection, sizes: Sequence[CopySize]) -> bool:
    """Store the sizes, and return whether each is stored as it was decided. It is not where
    another process has recorded another size of its slice, or another next one of its follow and
    token.
    """
    if not sizes:
        return True
    await fetch_rows(
        connection, RECORD, **SIZES.parameters([_build_values(size) for size in sizes])
    )
    stored = await load_sizes_of_trades(connection, [size.trade_id for size in sizes])
    return set(stored).issuperset(sizes)


def _build_values(size: CopySize) -> dict[str, Any]:
    return {
        "trade_id": size.trade_id,
        "sequence": size.sequence,
        "follow_id": size.follow_id,
        "token_id": size.token_id,
        "number": size.number,
        "state": size.state.value,
        "usdc": size.usdc,
        "carried_usdc": size.carried_usdc,
        "accrued_usdc": size.accrued_usdc,
        "let_go_usdc": size.let_go_usdc,
        "lots": LOTS.dump_json(size.lots).decode(),
        "leader_equity_usdc": None if size.equities is None else size.equities.leader_usdc,
        "follower_equity_usdc": None if size.equities is None else size.equities.follower_usdc,
    }


def _parse(row: DatabaseRow[Any]) -> CopySize:
    return CopySize(
        trade_id=row.trade_id,
        sequence=row.sequence,
        follow_id=row.follow_id,
        token_id=row.token_id,
        number=row.number,
        state=SizeState(row.state),
        usdc=row.usdc,
        carried_usdc=row.carried_usdc,
        accrued_usdc=row.accrued_usdc,
        let_go_usdc=row.let_go_usdc,
        lots=LOTS.validate_json(row.lots),
        equities=_parse_equities(row),
    )


def _parse_equities(row: DatabaseRow[Any]) -> Equities | None:
    equities = Equities(leader_usdc=row.leader_equity_usdc, follower_usdc=row.follower_equity_usdc)
    is_needed = row.state == SizeState.EQUITY_UNKNOWN or equities.are_known
    return equities if is_needed else None
