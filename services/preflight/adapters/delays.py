"""Entries that wait for room in the rate of their follower, or for a new quote, and their next
judgement.

As with exits (``ExitFeed``), what was published is not stored: after a restart it is published
again, and the first verdict of an intent is kept.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice

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

MAX_ENTRIES_UNDER_WAY = 500
"""So many are published and not judged yet: more would wait in front of preflight, until their
quotes are too old again. The others follow as these are judged."""
UNDER_WAY_FOR = timedelta(seconds=10)
"""One that has no verdict by then was lost, or waits behind others of its proxy: it holds up no
other entry."""


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
order by g.intent_id
on conflict (intent_id) do update set due_at = excluded.due_at
""")
"""An entry keeps its place and its trace when it is delayed again. One that was judged meanwhile,
by another instance, is not delayed; should both happen at the same time, its row goes with the next
judgement."""
END_DELAYS = text("""
delete from preflight.delayed_entries where intent_id = any(cast(:intent_ids as text[]))
""")
LOAD_DUE = """
select intent_id, proxy, due_at from preflight.delayed_entries where due_at <= :now order by number
"""
"""Those of all instances."""
LOAD_ENTRIES = """
select * from preflight.delayed_entries where intent_id = any(cast(:intent_ids as text[]))
order by number
"""


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


async def record_delays(connection: AsyncConnection, entries: Sequence[DelayedEntry]) -> None:
    """Raises: Transient."""
    rows = [
        {
            "intent_id": entry.intent.intent_id,
            "proxy": entry.intent.proxy,
            "intent": entry.intent.model_dump_json(),
            "due_at": entry.due_at,
            "expires_at": entry.expires_at,
            "traceparent": entry.traceparent,
        }
        for entry in entries
    ]
    await connection.execute(DELAY, ROW.parameters(rows))
    for entry in entries:
        metrics.entry_delayed(metrics.Delay(entry.reason))


async def end_delays(connection: AsyncConnection, intent_ids: Sequence[str]) -> None:
    """Raises: Transient."""
    await connection.execute(END_DELAYS, {"intent_ids": list(intent_ids)})


class DelayFeed:
    """Publishes each delayed entry again once it is due, those of a follower in the order in which
    they were delayed. It gets a new quote and is judged as any other.
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
        self._published: dict[tuple[str, datetime], datetime] = {}
        """When each was published, by its id and due time; forgotten once it is no longer due."""

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
            ready = self._select_ready(due)
            rows = await fetch_rows(connection, LOAD_ENTRIES, intent_ids=ready) if ready else ()
        by_proxy = defaultdict[str, list[Row]](list)
        for row in rows:
            by_proxy[row.proxy].append(row)
        await asyncio.gather(*(self._publish(each, publish) for each in by_proxy.values()))

    async def _publish(self, rows: Sequence[Row], publish: Publish) -> None:
        """Those of one proxy, one after another."""
        for row in rows:
            with tracing.continue_trace(row.traceparent):
                await publish(_build_copy_intended(row, now=self._now()))
            self._published[row.intent_id, row.due_at] = self._now()

    def _select_ready(self, due: Sequence[Row]) -> list[str]:
        """The ids of those to publish now."""
        entries = {(row.intent_id, row.due_at): row.proxy for row in due}
        self._published = {each: at for each, at in self._published.items() if each in entries}
        since = self._now() - UNDER_WAY_FOR
        room = MAX_ENTRIES_UNDER_WAY - sum(at > since for at in self._published.values())
        ready = (
            entry[0]
            for entry, proxy in entries.items()
            if entry not in self._published and self._owns(proxy)
        )
        return list(islice(ready, max(0, room)))


def _build_copy_intended(row: Row, *, now: datetime) -> CopyIntended:
    return CopyIntended(
        message_id=f"{row.intent_id}:intended",
        occurred_at=now,
        intent=parse_intent(row.intent),
    )
