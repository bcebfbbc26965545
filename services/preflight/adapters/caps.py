"""Reserves of the daily caps: what each scope may spend in any 24 hours.

A scope has one row with what was reserved in each hour, so that all entries that count against it
take turns, also where one is recorded before the turn of an hour and the other after it. An entry
counts against its cap whatever was reserved since 24 full hours before its own, later hours
included: whichever entry of a window of 24 hours is recorded last has seen all the others.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.preflight.decisions import Verdict
from shared.db import tables
from shared.db.engine import fetch_rows
from shared.db.sql import Batch
from shared.domain.follows import GLOBAL, follower_scope
from shared.messages.intents import IntentApproved

FULL_HOURS = timedelta(hours=24)
KEPT_HOURS = timedelta(hours=48)
"""Of the reservations of a scope, before its newest one. Longer than a window: another entry may be
recorded later than this one and date from an earlier hour."""


class LimitExceeded(Exception):
    """Another copy used up a limit after this verdict was reached. The text names the limit."""


def follow_scope(follow_id: str) -> str:
    return f"follow:{follow_id}"


def market_scope(token_id: str) -> str:
    return f"token:{token_id}"


def window_start(moment: datetime) -> str:
    """The first hour that counts with an entry of this moment."""
    return _format_hour(moment - FULL_HOURS)


def _format_hour(moment: datetime) -> str:
    """As ``sql_hour`` does; later hours compare greater."""
    return moment.astimezone(UTC).isoformat()[: len("2026-01-01T00")]


def sql_hour(column: str) -> str:
    """The hour of a timestamp, as a key of ``usdc_by_hour``."""
    return f"""to_char({column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24')"""


def sql_spent(scope: str, start: str) -> str:
    """What is counted of a scope from an hour on; both are SQL expressions."""
    return (
        f"coalesce((select sum(spent.value::bigint) from preflight.spending_windows w, "
        f"jsonb_each_text(w.usdc_by_hour) as spent "
        f"where w.scope = {scope} and spent.key >= {start}), 0)::bigint"
    )


def cap_by_scope(verdict: IntentApproved) -> dict[str, int | None]:
    """The daily caps that an approved copy counts against, by scope; None: nothing caps the scope.
    Empty for an exit. What all followers share is counted only where it is capped: its row is
    locked by everybody.
    """
    if verdict.usdc == 0:
        return {}
    intent, facts = verdict.intent, verdict.facts
    shared = {
        market_scope(intent.token_id): facts.market_daily_cap_usdc,
        GLOBAL: facts.global_daily_cap_usdc,
    }
    return {
        follow_scope(intent.follow_id): facts.daily_cap_usdc,
        follower_scope(intent.proxy): facts.follower_daily_cap_usdc,
        **{scope: cap for scope, cap in shared.items() if cap is not None},
    }


RESERVATIONS = Batch.from_table(tables.spending_windows, "scope", hour="text", usdc="bigint")


def sql_reserve(source: str) -> str:
    """Add to the windows what is spent of each scope and hour; ``source``: SQL of rows ``g`` with
    ``scope``, ``hour`` and ``usdc``. Takes the parameter ``oldest_hour``.
    """
    return f"""
insert into preflight.spending_windows as w (scope, usdc_by_hour)
select g.scope, jsonb_object_agg(g.hour, g.usdc) from {source}
group by g.scope
order by g.scope
on conflict (scope) do update set usdc_by_hour = (
    select jsonb_object_agg(each.hour, each.usdc) from (
        select known.key as hour, sum(known.value::bigint) as usdc from (
            select * from jsonb_each_text(w.usdc_by_hour)
            union all
            select * from jsonb_each_text(excluded.usdc_by_hour)
        ) as known
        where known.key >= :oldest_hour
        group by known.key
    ) as each
)
"""


RESERVE = f"""
{sql_reserve(RESERVATIONS.unnest("g"))}
returning scope, usdc_by_hour::text as usdc_by_hour
"""
"""Rows that other processes change too are locked in one order everywhere, against deadlocks."""


async def reserve(connection: AsyncConnection, entries: Sequence[IntentApproved]) -> None:
    """Reserve what the entries spend. Their scopes are locked until the transaction ends.

    Raises: LimitExceeded; then nothing may be committed. Transient.
    """
    if not entries:
        return
    rows = await fetch_rows(
        connection,
        RESERVE,
        oldest_hour=oldest_hour(entries),
        **RESERVATIONS.parameters(_sum_reservations(entries)),
    )
    usdc_by_hour = {row.scope: json.loads(row.usdc_by_hour) for row in rows}
    for each in entries:
        start = window_start(each.occurred_at)
        for scope, cap in cap_by_scope(each).items():
            if cap is not None and _sum_since(usdc_by_hour[scope], start) > cap:
                raise LimitExceeded("a daily cap")


def oldest_hour(verdicts: Iterable[Verdict]) -> str:
    """Of the hours that are kept in the windows in which the verdicts reserve something."""
    return _format_hour(min(each.occurred_at for each in verdicts) - KEPT_HOURS)


def _sum_since(usdc_by_hour: dict[str, int], start: str) -> int:
    return sum(usdc for hour, usdc in usdc_by_hour.items() if hour >= start)


def _sum_reservations(entries: Iterable[IntentApproved]) -> list[dict[str, Any]]:
    """What the entries take of each scope in each hour."""
    sums: dict[tuple[str, str], int] = {}
    for each in entries:
        for scope in cap_by_scope(each):
            key = scope, _format_hour(each.occurred_at)
            sums[key] = sums.get(key, 0) + each.usdc
    return [{"scope": scope, "hour": hour, "usdc": usdc} for (scope, hour), usdc in sums.items()]
