"""Verdicts and reservations in PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.preflight.decisions import Verdict, reserved_usdc
from services.preflight.handler import Commitments
from shared.db import tables
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.db.sql import Batch
from shared.domain.errors import Transient
from shared.messages.intents import Intent, IntentApproved, IntentRefused
from shared.messages.orders import OrderReported
from shared.observe import metrics, tracing

VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)

COMMITMENT_QUERIES = Batch.from_table(
    tables.intents, "proxy", "token_id", "day", since="timestamptz", n="bigint"
)
LOAD_COMMITMENTS = f"""
select q.n,
       coalesce(sum(i.reserved_usdc), 0)::bigint as usdc,
       coalesce(sum(i.reserved_shares) filter (where i.token_id = q.token_id), 0)::bigint as shares,
       coalesce(max(s.spent_usdc), 0)::bigint as spent_today
from {COMMITMENT_QUERIES.unnest("q")}
left join preflight.intents i
       on i.proxy = q.proxy and (i.settled_at is null or i.settled_at > q.since)
left join preflight.spending s on s.proxy = q.proxy and s.day = q.day
group by q.n order by q.n
"""
INTENTS = Batch.from_table(
    tables.intents,
    "intent_id",
    "proxy",
    "token_id",
    "state",
    "reason",
    "reserved_usdc",
    "reserved_shares",
    "cap_usdc",
    "day",
    "verdict",
    "traceparent",
    "judged_at",
    "settled_at",
)
RECORD_INTENTS = f"""
insert into preflight.intents ({INTENTS.names})
select {INTENTS.prefixed("g")} from {INTENTS.unnest("g")}
on conflict do nothing
returning intent_id
"""
SPENDING = Batch.from_table(tables.spending, "proxy", "day", "spent_usdc")
RESERVE_CAP = f"""
insert into preflight.spending ({SPENDING.names})
select {SPENDING.prefixed("g")} from {SPENDING.unnest("g")}
on conflict (proxy, day) do update set spent_usdc = spending.spent_usdc + excluded.spent_usdc
returning proxy, day, spent_usdc
"""
LOAD_VERDICTS = (
    "select intent_id, verdict from preflight.intents where intent_id = any(cast(:ids as text[]))"
)
REPORTS = Batch.from_table(
    tables.intents,
    "intent_id",
    "state",
    "reason",
    "settled_at",
    usdc="bigint",
    fee_usdc="bigint",
    shares="bigint",
)
SETTLE = text(f"""
with settled as (
    update preflight.intents i
    set state = g.state, reason = g.reason, settled_at = g.settled_at,
        reserved_usdc = case when i.reserved_usdc > 0 then g.usdc + g.fee_usdc else 0 end,
        reserved_shares = case when i.reserved_shares > 0 then g.shares else 0 end,
        cap_usdc = case when i.cap_usdc > 0 then g.usdc else 0 end
    from {REPORTS.unnest("g")}, preflight.intents before
    where i.intent_id = g.intent_id and before.intent_id = i.intent_id and i.settled_at is null
    returning i.proxy, i.day, before.cap_usdc - i.cap_usdc as unused
), released as (
    select proxy, day, sum(unused) as unused from settled group by proxy, day
)
update preflight.spending s
set spent_usdc = s.spent_usdc - r.unused
from released r
where s.proxy = r.proxy and s.day = r.day
""")

CommitmentsQuery = tuple[Intent, datetime, datetime]
"""The intent, when its balance was read, and the current time."""
TracedVerdict = tuple[Verdict, str | None]
"""A verdict, and the traceparent that it was reached under."""


class DailyCapExceeded(Exception):
    """Another process reserved of the same cap after this verdict was reached."""


class PostgresVerdicts:
    """Verdicts and reservations in PostgreSQL.

    Calls are grouped: one statement serves all proxies that are judged at the same time (one intent
    per proxy, as the message loop handles one record of a key at a time).
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._load_commitments = GroupCommit(self._load_all_commitments)
        self._record = GroupCommit(self._record_all)
        self._settle = GroupCommit(self._settle_all)

    async def load_commitments(
        self, intent: Intent, *, since: datetime, now: datetime
    ) -> Commitments:
        return await self._load_commitments((intent, since, now))

    async def record(self, verdict: Verdict) -> Verdict:
        try:
            recorded = await self._record((verdict, tracing.inject()))
        except DailyCapExceeded as error:
            raise Transient(
                f"another process reserved of the daily cap of {verdict.intent.proxy} meanwhile: "
                f"intent {verdict.intent_id} has to be judged again"
            ) from error
        return recorded

    async def settle(self, report: OrderReported, *, now: datetime) -> None:
        await self._settle((report, now))

    async def _load_all_commitments(self, queries: Sequence[CommitmentsQuery]) -> list[Commitments]:
        rows = [
            {
                "proxy": intent.proxy,
                "token_id": intent.token_id,
                "day": _day(now),
                "since": since,
                "n": n,
            }
            for n, (intent, since, now) in enumerate(queries)
        ]
        async with autocommit(self._engine) as connection:
            found = await fetch_rows(
                connection, LOAD_COMMITMENTS, **COMMITMENT_QUERIES.parameters(rows)
            )
        return [
            Commitments(usdc=row.usdc, shares=row.shares, spent_today=row.spent_today)
            for row in found
        ]

    async def _record_all(self, group: Sequence[TracedVerdict]) -> list[Verdict]:
        """Record the verdicts that are new, and return the recorded one of each intent.

        Raises: DailyCapExceeded, and nothing of the group is recorded.
        """
        verdicts = [verdict for verdict, _ in group]
        rows = [_build_row(verdict, traceparent) for verdict, traceparent in group]
        async with transaction(self._engine) as connection:
            inserted = await fetch_rows(connection, RECORD_INTENTS, **INTENTS.parameters(rows))
            new_ids = {row.intent_id for row in inserted}
            await self._reserve_caps(
                connection,
                [v for v in verdicts if isinstance(v, IntentApproved) and v.intent_id in new_ids],
            )
            known_ids = [v.intent_id for v in verdicts if v.intent_id not in new_ids]
            known_rows = (
                await fetch_rows(connection, LOAD_VERDICTS, ids=known_ids) if known_ids else ()
            )
            known = {row.intent_id: VERDICT.validate_json(row.verdict) for row in known_rows}
        for verdict in verdicts:
            if verdict.intent_id in new_ids and isinstance(verdict, IntentRefused):
                metrics.copy_refused(verdict.reason)
        return [known.get(verdict.intent_id, verdict) for verdict in verdicts]

    async def _reserve_caps(
        self, connection: AsyncConnection, approved: Sequence[IntentApproved]
    ) -> None:
        buys = [verdict for verdict in approved if verdict.usdc > 0]
        if not buys:
            return
        rows = [
            {
                "proxy": verdict.intent.proxy,
                "day": _day(verdict.occurred_at),
                "spent_usdc": verdict.usdc,
            }
            for verdict in buys
        ]
        reserved = await fetch_rows(connection, RESERVE_CAP, **SPENDING.parameters(rows))
        spent = {(row.proxy, row.day): row.spent_usdc for row in reserved}
        if any(spent[v.intent.proxy, _day(v.occurred_at)] > v.facts.daily_cap_usdc for v in buys):
            raise DailyCapExceeded

    async def _settle_all(self, reports: Sequence[tuple[OrderReported, datetime]]) -> list[None]:
        rows = [
            {
                "intent_id": report.intent_id,
                "state": report.state.value,
                "reason": report.reason,
                "settled_at": now,
                "usdc": report.usdc,
                "fee_usdc": report.fee_usdc,
                "shares": report.shares,
            }
            for report, now in reports
        ]
        async with autocommit(self._engine) as connection:
            await connection.execute(SETTLE, REPORTS.parameters(rows))
        return [None] * len(reports)


def _build_row(verdict: Verdict, traceparent: str | None) -> dict[str, Any]:
    """The row of ``preflight.intents``; a refusal reserves nothing and is settled at once."""
    row = {
        "intent_id": verdict.intent_id,
        "proxy": verdict.intent.proxy,
        "token_id": verdict.intent.token_id,
        "day": _day(verdict.occurred_at),
        "verdict": verdict.model_dump_json(),
        "traceparent": traceparent,
        "judged_at": verdict.occurred_at,
    }
    if isinstance(verdict, IntentApproved):
        return row | {
            "state": "approved",
            "reason": "",
            "reserved_usdc": reserved_usdc(verdict),
            "reserved_shares": verdict.shares,
            "cap_usdc": verdict.usdc,
            "settled_at": None,
        }
    return row | {
        "state": "refused",
        "reason": verdict.reason.value,
        "reserved_usdc": 0,
        "reserved_shares": 0,
        "cap_usdc": 0,
        "settled_at": verdict.occurred_at,
    }


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()
