"""Entries that wait for the rate of their follower to have room, and their next judgement.

As with exits (``ExitFeed``), what was published is not stored: after a restart it is published
again, and the first verdict of an intent is kept.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.adapters.reservations import sql_recent_entries
from services.preflight.adapters.rows import parse_intent
from services.preflight.decisions import ENTRIES_WINDOW, DelayedEntry, OtherEntries
from shared.db import tables
from shared.db.engine import Connection, autocommit, fetch_rows
from shared.db.rows import Row
from shared.db.sql import Batch
from shared.domain.errors import Transient
from shared.messages.intents import CopyIntended, Intent
from shared.observe import metrics, tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

MAX_ENTRIES_PER_POLL = 500
"""The others follow with the next poll."""


class EntryApproved(Exception):
    """An entry that was to be let go has been approved meanwhile. The text is its intent's id."""


SQL_IS_AHEAD = """
    d.proxy = q.proxy and d.intent_id <> q.intent_id and d.expires_at > q.now
    and d.number < coalesce(
        (select own.number from preflight.delayed_entries own where own.intent_id = q.intent_id),
        9223372036854775807
    )
"""
"""Whether a delayed entry ``d`` was delayed before the query's intent and may still be approved."""


def sql_is_judged(alias: str) -> str:
    """Whether the intent of a row has a verdict. ``offset 0`` keeps it a lookup of each row: as a
    join it might be planned as a scan of all intents.
    """
    return (
        f"exists (select from preflight.intents i where i.intent_id = {alias}.intent_id offset 0)"
    )


QUERY = Batch.from_table(
    tables.delayed_entries, "proxy", "intent_id", now="timestamptz", entries_since="timestamptz"
)
LOAD_OTHERS = f"""
select r.judged_at as approved_at, null as waiting_until
from {QUERY.unnest("q")}
cross join lateral {sql_recent_entries("r.judged_at")} as r
union all
select null, d.due_at
from {QUERY.unnest("q")}
join preflight.delayed_entries d on {SQL_IS_AHEAD}
"""
ROW = Batch.from_table(
    tables.delayed_entries,
    "intent_id",
    "proxy",
    "intent",
    "due_at",
    "expires_at",
    "traceparent",
)
DELAY = text(f"""
insert into preflight.delayed_entries ({ROW.names})
select {ROW.prefixed("g")} from {ROW.unnest("g")}
where not {sql_is_judged("g")}
on conflict (intent_id) do update set due_at = excluded.due_at
""")
"""An entry keeps its place and its trace when it is delayed again. One that was judged meanwhile,
by another instance, is not delayed; should both happen at the same time, its row goes with the next
judgement."""
END_DELAY = text("delete from preflight.delayed_entries where intent_id = :intent_id")
LOAD_DUE = """
select * from preflight.delayed_entries where due_at <= :now order by number
"""
"""Those of all instances."""


async def load_other_entries(
    connection: Connection, intent: Intent, *, now: datetime
) -> OtherEntries:
    """Raises: Transient."""
    query = {
        "proxy": intent.proxy,
        "intent_id": intent.intent_id,
        "now": now,
        "entries_since": now - ENTRIES_WINDOW,
    }
    rows = await fetch_rows(connection, LOAD_OTHERS, **QUERY.parameters([query]))
    return OtherEntries(
        approved_at=[row.approved_at for row in rows if row.approved_at is not None],
        waiting_until=[row.waiting_until for row in rows if row.waiting_until is not None],
    )


async def record_delay(connection: AsyncConnection, entry: DelayedEntry) -> None:
    """Raises: Transient."""
    row = {
        "intent_id": entry.intent.intent_id,
        "proxy": entry.intent.proxy,
        "intent": entry.intent.model_dump_json(),
        "due_at": entry.due_at,
        "expires_at": entry.expires_at,
        "traceparent": entry.traceparent,
    }
    await connection.execute(DELAY, ROW.parameters([row]))
    metrics.entry_delayed()


async def end_delay(connection: AsyncConnection, intent_id: str) -> None:
    """Raises: Transient."""
    await connection.execute(END_DELAY, {"intent_id": intent_id})


class DelayFeed:
    """Publishes each delayed entry again once it is due, in the order in which they were delayed.
    It gets a new quote and is judged as any other.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        poll_interval: timedelta,
    ) -> None:
        self._engine, self._owns, self._now = engine, owns, now
        self._poll_interval = poll_interval
        self._published: set[tuple[str, datetime]] = set()
        """Ids and due times; forgotten once they are no longer due."""

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                await self._poll(publish)
            except Transient as error:
                logger.warning("delayed entries could not be published, retrying: %s", error)
            await asyncio.sleep(self._poll_interval.total_seconds())

    async def _poll(self, publish: Publish) -> None:
        async with autocommit(self._engine) as connection:
            due = await fetch_rows(connection, LOAD_DUE, now=self._now())
        self._published &= {(row.intent_id, row.due_at) for row in due}
        for row in self._select_ready(due):
            with tracing.continue_trace(row.traceparent):
                await publish(_build_copy_intended(row, now=self._now()))
            self._published.add((row.intent_id, row.due_at))

    def _select_ready(self, due: Sequence[Row]) -> Sequence[Row]:
        ready = [
            row
            for row in due
            if (row.intent_id, row.due_at) not in self._published and self._owns(row.proxy)
        ]
        return ready[:MAX_ENTRIES_PER_POLL]


def _build_copy_intended(row: Row, *, now: datetime) -> CopyIntended:
    return CopyIntended(
        message_id=f"{row.intent_id}:intended",
        occurred_at=now,
        intent=parse_intent(row.intent),
    )
