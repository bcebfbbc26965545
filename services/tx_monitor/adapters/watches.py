"""Tx-monitor's watches in PostgreSQL."""

import logging
from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.tx_monitor.decisions.watches import CLOSED_STATES, FINAL_STATES, Watch
from shared.db import tables
from shared.db.engine import fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.db.rows import Row
from shared.db.sql import Batch, literals
from shared.messages.transactions import Purpose, SettledFill, TransactionState
from shared.observe import metrics, tracing

logger = logging.getLogger(__name__)

FILLS: TypeAdapter[tuple[SettledFill, ...]] = TypeAdapter(tuple[SettledFill, ...])

FINAL = literals(sorted(FINAL_STATES))
CLOSED = literals(sorted(CLOSED_STATES))

NEW_WATCHES = Batch.from_table(
    tables.watches,
    "request_id",
    "proxy",
    "transaction_hash",
    "purpose",
    "intent_id",
    "state",
    "fills",
    "traceparent",
    "requested_at",
    "updated_at",
)
RECORD = f"""
with recorded as (
    insert into tx_monitor.watches ({NEW_WATCHES.names})
    select {NEW_WATCHES.prefixed("g")} from {NEW_WATCHES.unnest("g")}
    order by g.request_id
    on conflict do nothing
    returning request_id, state
)
insert into tx_monitor.open_watches (request_id)
select request_id from recorded where state not in {CLOSED}
"""
LOAD = "select * from tx_monitor.watches where request_id = any(cast(:ids as text[]))"
WATCHES = Batch.from_table(
    tables.watches,
    "request_id",
    "state",
    "block_number",
    "block_hash",
    "fills",
    "updated_at",
)
SAVE = f"""
with before as materialized (
    select request_id from tx_monitor.watches
    where request_id = any(cast(:request_id as text[]))
), known as materialized (
    select * from {WATCHES.unnest("g")}
    where (request_id in (select request_id from before)) is true
    order by request_id
), updated as (
    insert into tx_monitor.watches as w (
        {WATCHES.names}, proxy, transaction_hash, purpose, intent_id, requested_at
    )
    select {WATCHES.names}, '', '', '', '', updated_at from known
    on conflict (request_id) do update
    set state = excluded.state, block_number = excluded.block_number,
        block_hash = excluded.block_hash, fills = excluded.fills,
        updated_at = case
            when (w.state, w.block_hash) is distinct from (excluded.state, excluded.block_hash)
            then excluded.updated_at
            else w.updated_at
        end
    where w.state not in {FINAL}
      and (w.state, w.block_number, w.block_hash, w.fills) is distinct from
          (excluded.state, excluded.block_number, excluded.block_hash, excluded.fills)
    returning w.request_id
), saved as materialized (
    select * from known where (request_id in (select request_id from updated)) is true
), closed as (
    delete from tx_monitor.open_watches
    where request_id = any(array(select request_id from saved where state in {CLOSED}))
), opened as (
    insert into tx_monitor.open_watches (request_id)
    select request_id from saved where state not in {CLOSED}
    on conflict do nothing
)
select state from saved
"""
"""A final state is never overwritten: an instance that was paused may save an older receipt. One
that was dropped is open again where a receipt of it comes after all.

The rows are locked in the order of their ids, by several instances too. Only watches that are known
are saved, so that each is in conflict, and updated: what is inserted of the other columns is never
kept. The table is read by the given keys alone (docs/adr/0013)."""
LOAD_OPEN = """
select w.*
from tx_monitor.open_watches
cross join lateral (
    select * from tx_monitor.watches w where w.request_id = open_watches.request_id offset 0
) w
"""
"""``offset 0``: each open watch is looked up by its key. The planner would rather read all."""
CLOSE = f"""
with closed as materialized (
    select request_id from tx_monitor.watches
    where request_id = any(cast(:ids as text[])) and state in {CLOSED}
    order by request_id
    for no key update
)
delete from tx_monitor.open_watches
where request_id = any(array(select request_id from closed))
"""
"""Two instances that save a watch, while it passes from one to the other, can leave it listed."""

DatedWatch = tuple[Watch, datetime]
"""A watch, and the time to record for a change."""


class PostgresWatches:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._record = GroupCommit(self._record_all)
        self._load = GroupCommit(self._load_all)
        self._save = GroupCommit(self._save_all)

    async def record(self, watch: Watch, *, now: datetime) -> Watch:
        return await self._record((watch, now, tracing.inject()))

    async def load(self, request_id: str) -> Watch | None:
        return await self._load(request_id)

    async def save(self, watch: Watch, *, now: datetime) -> None:
        await self._save((watch, now))

    async def load_open(self) -> list[Watch]:
        """Load all that are neither final nor dropped, of all instances. Those that are listed by
        mistake leave the list.

        Raises: Transient.
        """
        async with transaction(self._engine) as connection:
            listed = [_parse_watch(row) for row in await fetch_rows(connection, LOAD_OPEN)]
            closed = [watch.request_id for watch in listed if watch.state in CLOSED_STATES]
            if closed:
                await connection.execute(text(CLOSE), {"ids": closed})
        return [watch for watch in listed if watch.state not in CLOSED_STATES]

    async def _record_all(self, group: Sequence[tuple[Watch, datetime, str | None]]) -> list[Watch]:
        rows = [
            {
                "request_id": watch.request_id,
                "proxy": watch.proxy,
                "transaction_hash": watch.transaction_hash,
                "purpose": watch.purpose.value,
                "intent_id": watch.intent_id,
                "state": watch.state.value,
                "fills": _build_fills_json(watch),
                "traceparent": traceparent,
                "requested_at": now,
                "updated_at": now,
            }
            for watch, now, traceparent in group
        ]
        ids = [watch.request_id for watch, _, _ in group]
        async with transaction(self._engine) as connection:
            await connection.execute(text(RECORD), NEW_WATCHES.parameters(rows))
            recorded = {
                row.request_id: _parse_watch(row)
                for row in await fetch_rows(connection, LOAD, ids=ids)
            }
        return [recorded[request_id] for request_id in ids]

    async def _load_all(self, ids: Sequence[str]) -> list[Watch | None]:
        async with transaction(self._engine) as connection:
            watches = {
                row.request_id: _parse_watch(row)
                for row in await fetch_rows(connection, LOAD, ids=list(ids))
            }
        return [watches.get(request_id) for request_id in ids]

    async def _save_all(self, group: Sequence[DatedWatch]) -> list[None]:
        newest: dict[str, DatedWatch] = {}
        for dated in group:
            known = newest.get(dated[0].request_id)
            if known is None or known[0].state not in FINAL_STATES:
                newest[dated[0].request_id] = dated
        rows = [
            {
                "request_id": watch.request_id,
                "state": watch.state.value,
                "block_number": watch.block_number,
                "block_hash": watch.block_hash,
                "fills": _build_fills_json(watch),
                "updated_at": now,
            }
            for watch, now in newest.values()
        ]
        async with transaction(self._engine) as connection:
            changed = await fetch_rows(connection, SAVE, **WATCHES.parameters(rows))
        for row in changed:
            metrics.transaction_state_reached(row.state)
        return [None] * len(group)


def _build_fills_json(watch: Watch) -> str:
    return FILLS.dump_json(watch.fills).decode()


def _parse_watch(row: Row) -> Watch:
    return Watch(
        request_id=row.request_id,
        proxy=row.proxy,
        transaction_hash=row.transaction_hash,
        purpose=Purpose(row.purpose),
        intent_id=row.intent_id,
        state=TransactionState(row.state),
        block_number=row.block_number,
        block_hash=row.block_hash,
        fills=FILLS.validate_json(row.fills),
        traceparent=row.traceparent,
        changed_at=row.updated_at,
    )
