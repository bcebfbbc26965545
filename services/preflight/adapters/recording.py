"""Records verdicts: most of them in one statement, what has to be counted again in several.

What entries take of their caps is added up by PostgreSQL, whose rows are locked until the commit:
whichever entry is recorded last has seen all the others.
"""

from collections.abc import Sequence

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from services.preflight.adapters import caps, entry_limits, statements
from services.preflight.adapters.caps import LimitExceeded
from services.preflight.adapters.delays import EntryApproved
from services.preflight.adapters.levels import record_judged_levels
from services.preflight.adapters.newest_copies import (
    COPIES,
    build_copy_row,
    is_copy,
    record_newest_copies,
    sql_record_copies,
)
from services.preflight.adapters.rows import (
    build_attempt_row,
    build_exit_row,
    build_intent_row,
    parse_verdict,
)
from services.preflight.adapters.statements import ATTEMPTS, INTENTS
from services.preflight.decisions import Verdict
from services.preflight.handler import Recording
from shared.db.direct import DirectConnection
from shared.db.engine import Connection, fetch_rows
from shared.db.sql import Batch
from shared.messages.intents import IntentApproved, IntentRefused

SQLSTATE_OF_LIMIT = "SL001"
"""Of preflight.raise_limit_exceeded alone: a check_violation can also be a missing partition."""
RECORDINGS = Batch(
    {
        **INTENTS.types,
        "window_start": "text",
        "is_copy": "boolean",
        "has_ended": "boolean",
        "traded_at": "timestamptz",
    }
)
NEW_COPIES = f"""(
    select {COPIES.prefixed("given")} from given join inserted using (intent_id)
    where given.is_copy and (select count(*) from saved) >= 0
) as g"""
NEW_ATTEMPTS = f"""(
    select g.* from {ATTEMPTS.unnest("g")} join inserted on intent_id = g.exit_attempt_id
    where (select count(*) from exceeded) = 0
) as g"""
RECORD_AT_ONCE = f"""
{statements.sql_insert_intents(RECORDINGS)}, ended as (
    {statements.SQL_END_DELAYS}
    returning intent_id
), reserving as (
    select each.scope, {caps.sql_hour("given.judged_at")} as hour,
           sum(given.cap_usdc)::bigint as usdc
    from given join inserted using (intent_id)
    cross join lateral json_object_keys(cast(given.caps as json)) as each(scope)
    where (select count(*) from ended) >= 0 and (select count(*) from summed) >= 0
    group by each.scope, hour
), spent as (
    {caps.sql_reserve("reserving as g")}
    returning w.scope, w.usdc_by_hour
), exceeded as (
    select preflight.raise_limit_exceeded(spent.scope)
    from (
        select each.scope, cast(each.usdc as bigint) as usdc, given.window_start
        from given join inserted using (intent_id)
        cross join lateral json_each_text(cast(given.caps as json)) as each(scope, usdc)
        where each.usdc is not null
        offset 0
    ) as cap
    join spent on spent.scope = cap.scope
    where cap.usdc < (
        select sum(hour.value::bigint) from jsonb_each_text(spent.usdc_by_hour) as hour
        where hour.key >= cap.window_start
    )
), saved as (
    {statements.sql_save_attempted(NEW_ATTEMPTS)}
), copied as (
    {sql_record_copies(NEW_COPIES)}
)
select intent_id from inserted where (select count(*) from exceeded) = 0
"""
"""Verdicts that nothing has to be counted for but the caps. The counts make each step come after
the one before it, as in ``settling.SETTLE``."""


async def record_at_once(
    connection: DirectConnection, recordings: Sequence[Recording]
) -> frozenset[str]:
    """Record the verdicts that are new, for which ``needs_steps`` is false, and return the ids of
    their intents.

    Raises: LimitExceeded, and nothing is recorded. Transient.
    """
    rows = [
        build_intent_row(each.verdict, each.traceparent)
        | build_copy_row(each.verdict)
        | {
            "is_copy": is_copy(each.verdict),
            "window_start": caps.window_start(each.verdict.occurred_at),
        }
        for each in recordings
    ]
    attempts = [
        build_attempt_row(each.traced_exit, each.verdict.intent_id, now=each.verdict.occurred_at)
        for each in recordings
        if each.traced_exit is not None
    ]
    try:
        inserted = await fetch_rows(
            connection,
            RECORD_AT_ONCE,
            oldest_hour=caps.oldest_hour(each.verdict for each in recordings),
            **RECORDINGS.parameters(rows),
            **ATTEMPTS.parameters(attempts),
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate != SQLSTATE_OF_LIMIT:
            raise
        raise LimitExceeded("a daily cap") from error
    return frozenset(row.intent_id for row in inserted)


def needs_steps(recording: Recording) -> bool:
    """Whether something has to be counted once the row of the follower's caps is locked, or the
    level of a leader is concerned: a statement sees what was committed before it began.
    """
    verdict = recording.verdict
    return (
        bool(recording.let_go)
        or verdict.intent.level is not None
        or (isinstance(verdict, IntentApproved) and entry_limits.is_limited(verdict))
    )


async def record_in_steps(
    connection: AsyncConnection, recordings: Sequence[Recording]
) -> frozenset[str]:
    """The same of any verdicts, within a transaction. The ids are also those of delayed entries
    that were let go.

    Raises: LimitExceeded, EntryApproved or TradedMeanwhile; then nothing may be committed.
    Transient.
    """
    gone = await _let_go(connection, recordings)
    rows = [build_intent_row(each.verdict, each.traceparent) for each in recordings]
    inserted = await fetch_rows(connection, statements.RECORD_INTENTS, **INTENTS.parameters(rows))
    new_ids = frozenset(row.intent_id for row in inserted)
    new = [each for each in recordings if each.verdict.intent_id in new_ids]
    entries = _select_entries(new)
    await caps.reserve(connection, entries)
    await entry_limits.require_room(connection, entries)
    exits = [
        build_exit_row(each.traced_exit, now=each.verdict.occurred_at)
        for each in new
        if each.traced_exit is not None
    ]
    if exits:
        await fetch_rows(connection, statements.SAVE_EXITS, **statements.EXITS.parameters(exits))
    judged = [*gone, *(each.verdict for each in new)]
    await record_newest_copies(connection, judged)
    await record_judged_levels(connection, judged)
    return new_ids | {each.intent_id for each in gone}


async def load_known(connection: Connection, intent_ids: Sequence[str]) -> dict[str, Verdict]:
    """The recorded verdicts by the ids of their intents. Raises: Transient."""
    if not intent_ids:
        return {}
    rows = await fetch_rows(connection, statements.LOAD_VERDICTS, intent_ids=list(intent_ids))
    return {row.intent_id: parse_verdict(row.verdict) for row in rows}


async def _let_go(
    connection: AsyncConnection, recordings: Sequence[Recording]
) -> list[IntentRefused]:
    """Record the refusals of delayed entries, and return those that are new.

    Raises: EntryApproved.
    """
    refusals = [(each, given.traceparent) for given in recordings for each in given.let_go]
    if not refusals:
        return []
    rows = [build_intent_row(refused, trace) for refused, trace in refusals]
    inserted = await fetch_rows(connection, statements.LET_GO, **INTENTS.parameters(rows))
    new_ids = {row.intent_id for row in inserted}
    known = await load_known(
        connection, [each.intent_id for each, _ in refusals if each.intent_id not in new_ids]
    )
    for intent_id, verdict in known.items():
        if isinstance(verdict, IntentApproved):
            raise EntryApproved(intent_id)
    return [each for each, _ in refusals if each.intent_id in new_ids]


def _select_entries(recorded: Sequence[Recording]) -> list[IntentApproved]:
    """The approved entries, which count against limits."""
    return [
        each.verdict
        for each in recorded
        if isinstance(each.verdict, IntentApproved) and each.verdict.usdc > 0
    ]
