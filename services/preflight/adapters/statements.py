"""SQL of preflight's verdicts, reservations and exits: each statement takes a group.

Rows that exist are locked in one order by every transaction, against deadlocks: delayed entries,
reservations, intents, sums of reservations, spending windows, positions, exits, newest copies,
levels; and of each table in the order of its key.
"""

from services.preflight.adapters.caps import sql_spent
from services.preflight.adapters.delays import SQL_IS_AHEAD
from services.preflight.adapters.entry_limits import SQL_OPEN_TOKENS, SQL_RECENT_ENTRIES
from services.preflight.adapters.reservations import SQL_RESERVED_USDC, sql_add_to_sums
from shared.db import tables
from shared.db.sql import Batch

COMMITMENT_QUERIES = Batch.from_table(
    tables.reservations,
    "intent_id",
    "proxy",
    window_start="text",
    since="timestamptz",
    n="bigint",
    follow_scope="text",
    follower_scope="text",
    market_scope="text",
    global_scope="text",
    counts_positions="boolean",
    entries_since="timestamptz",
    now="timestamptz",
)


def _spent(scope: str) -> str:
    """What is counted of the scope in the query's column of that name."""
    return sql_spent(f"q.{scope}", "q.window_start")


LOAD_COMMITMENTS = f"""
select q.n,
       {SQL_RESERVED_USDC} as usdc,
       {_spent("follow_scope")} as spent_today,
       {_spent("follower_scope")} as follower_spent_today,
       case when q.market_scope is not null then {_spent("market_scope")} end
       as market_spent_today,
       case when q.global_scope is not null then {_spent("global_scope")} end
       as global_spent_today,
       case when q.counts_positions then {SQL_OPEN_TOKENS} end as open_tokens,
       case when q.entries_since is not null then {SQL_RECENT_ENTRIES} + (
           select count(*) from preflight.delayed_entries d where {SQL_IS_AHEAD}
       ) end as recent_entries
from {COMMITMENT_QUERIES.unnest("q")}
order by q.n
"""
"""What is not limited has null in its query, and is not read."""

LOAD_EXITS_BY_INTENT = """
select q.intent_id, e.* from unnest(cast(:intent_ids as text[])) as q(intent_id)
cross join lateral (
    select exit_id from preflight.intents where intent_id = q.intent_id offset 0
) as i
join preflight.exits e on e.exit_id = i.exit_id
"""
LOAD_DUE_EXITS = """
select exit_id, attempts, proxy, leader, expires_at from preflight.exits
where next_attempt_at <= :now order by next_attempt_at, exit_id
"""
"""All of them: those that are halted, or another instance's, must not stand in front of others."""
LOAD_EXITS_BY_ID = """
select * from preflight.exits where exit_id = any(cast(:exit_ids as text[]))
order by next_attempt_at, exit_id
"""

INTENT_COLUMNS = Batch.from_table(
    tables.intents,
    "intent_id",
    "proxy",
    "follow_id",
    "token_id",
    "side",
    "exit_id",
    "state",
    "reason",
    "judged_at",
    "settled_at",
    "reserved_usdc",
    "reserved_shares",
    "cap_usdc",
)
VERDICT_COLUMNS = Batch.from_table(tables.verdicts, "intent_id", "verdict", "traceparent")
RESERVATION_COLUMNS = Batch.from_table(
    tables.reservations,
    "intent_id",
    "proxy",
    "follow_id",
    "token_id",
    "side",
    "reserved_usdc",
    "reserved_shares",
    "cap_usdc",
    "judged_at",
)
INTENTS = Batch({**INTENT_COLUMNS.types, **VERDICT_COLUMNS.types, "caps": "text"})
"""The caps by their scope as JSON: arrays of different lengths cannot be unnested."""


NEW_RESERVATIONS = """(
    select given.proxy, given.reserved_usdc as usdc from given join inserted using (intent_id)
    where given.state = 'approved' and given.reserved_usdc > 0
      and (select count(*) from delayed) >= 0
) as g"""


def sql_insert_intents(intents: Batch) -> str:
    """Insert the verdicts that are new with what they reserve, and lock the delayed entries that
    they are about; ``intents``: ``INTENTS`` with any other columns, the rows of ``given``.
    """
    return f"""
with given as materialized (
    select * from {intents.unnest("g")}
), inserted as (
    insert into preflight.intents ({INTENT_COLUMNS.names})
    select {INTENT_COLUMNS.prefixed("g")} from given g
    order by g.intent_id
    on conflict do nothing
    returning intent_id
), explained as (
    insert into preflight.verdicts ({VERDICT_COLUMNS.names})
    select {VERDICT_COLUMNS.prefixed("g")} from given g join inserted using (intent_id)
    on conflict do nothing
), reserved as (
    insert into preflight.reservations ({RESERVATION_COLUMNS.names}, cap_scopes)
    select {RESERVATION_COLUMNS.prefixed("g")},
           array(select json_object_keys(cast(g.caps as json)))
    from given g join inserted using (intent_id)
    where g.state = 'approved'
), delayed as (
    select d.intent_id, g.judged_at
    from (select intent_id, judged_at from given order by intent_id) as g
    cross join lateral (
        select intent_id from preflight.delayed_entries
        where intent_id = g.intent_id offset 0 for update
    ) as d
), summed as (
    {sql_add_to_sums(NEW_RESERVATIONS)}
)"""


SQL_END_DELAYS = """
delete from preflight.delayed_entries where intent_id = any(array(select intent_id from delayed))
"""
"""Of those that ``sql_insert_intents`` has locked."""
RECORD_INTENTS = f"""
{sql_insert_intents(INTENTS)}, ended as (
    {SQL_END_DELAYS}
)
select intent_id from inserted
"""
LET_GO = f"""
{sql_insert_intents(INTENTS)}, due as (
    update preflight.delayed_entries d
    set (due_at, expires_at) = (
        select least(d.due_at, delayed.judged_at), least(d.expires_at, delayed.judged_at)
        from delayed where delayed.intent_id = d.intent_id
    )
    where d.intent_id = any(array(select intent_id from delayed))
)
select intent_id from inserted
"""
"""The entries stay delayed, without room in the rate, until they were judged once more: that
publishes their verdicts."""
LOAD_VERDICTS = """
select v.* from unnest(cast(:intent_ids as text[])) as q(intent_id)
cross join lateral (
    select intent_id, verdict from preflight.verdicts where intent_id = q.intent_id offset 0
) as v
"""

EXIT_COLUMNS = Batch.from_table(
    tables.exits,
    "exit_id",
    "proxy",
    "leader",
    "follow_id",
    "token_id",
    "intent",
    "base_shares",
    "shares",
    "sold_shares",
    "attempts",
    "state",
    "reason",
    "next_attempt_at",
    "expires_at",
    "updated_at",
    "traceparent",
)
EXITS = Batch({**EXIT_COLUMNS.types, "awaited_entries": "text", "awaited_exits": "text"})
"""The awaited ids as JSON: arrays of different lengths cannot be unnested."""
SQL_UPDATE_EXIT = """
on conflict (exit_id) do update
set shares = excluded.shares, sold_shares = excluded.sold_shares, attempts = excluded.attempts,
    state = excluded.state, reason = excluded.reason,
    next_attempt_at = excluded.next_attempt_at, updated_at = excluded.updated_at
"""
SAVE_EXITS = f"""
insert into preflight.exits ({EXIT_COLUMNS.names}, awaited_entries, awaited_exits)
select {EXIT_COLUMNS.prefixed("g")},
       array(select json_array_elements_text(cast(g.awaited_entries as json))),
       array(select json_array_elements_text(cast(g.awaited_exits as json)))
from {EXITS.unnest("g")}
order by g.exit_id
{SQL_UPDATE_EXIT}
"""
ATTEMPTS = Batch(
    {"exit_attempt_id": "text", **{f"exit_{name}": type_ for name, type_ in EXITS.types.items()}}
)
"""Exits, each with the intent that is an attempt of it, beside the columns of other rows."""


def sql_save_attempted(attempted: str) -> str:
    """Save the exits of the attempts ``g``, an SQL expression with the columns of ``ATTEMPTS``."""
    return f"""
insert into preflight.exits ({EXIT_COLUMNS.names}, awaited_entries, awaited_exits)
select {", ".join(f"g.exit_{name}" for name in EXIT_COLUMNS.types)},
       array(select json_array_elements_text(cast(g.exit_awaited_entries as json))),
       array(select json_array_elements_text(cast(g.exit_awaited_exits as json)))
from {attempted}
order by g.exit_exit_id
{SQL_UPDATE_EXIT}
returning exit_id
"""
