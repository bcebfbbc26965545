"""SQL of preflight's verdicts, reservations, positions and exits: each statement takes a group.

Rows that exist are locked in one order by every transaction, against deadlocks: delayed entries,
reservations, intents, spending windows, positions, exits, newest copies, levels; and of each table
in the order of its key.
"""

from services.preflight.adapters.caps import sql_hour, sql_spent
from services.preflight.adapters.delays import SQL_IS_AHEAD, sql_is_judged
from services.preflight.adapters.entry_limits import SQL_OPEN_TOKENS, SQL_RECENT_ENTRIES
from services.preflight.adapters.newest_copies import SQL_IS_TRADED_SINCE
from services.preflight.adapters.reservations import sql_reserved
from shared.db import tables
from shared.db.sql import Batch, stored_json

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
       (select coalesce(sum(r.reserved_usdc), 0)::bigint
        from {sql_reserved("reserved_usdc", since="q.since")} as r) as usdc,
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

POSITION_QUERIES = Batch.from_table(
    tables.exits,
    "follow_id",
    "token_id",
    "proxy",
    "exit_id",
    intent_id="text",
    n="bigint",
    accounted_through="timestamptz",
)
LOAD_HELD = f"""
select q.n, coalesce(own.shares, 0) as shares,
       coalesce((select sum(each.shares) from preflight.positions each
                 where each.proxy = q.proxy and each.token_id = q.token_id), 0)::bigint
       as of_all_follows,
       level.block_number, level.reconciled_through, level.mirrored_through, level.sold_all,
       {SQL_IS_TRADED_SINCE} as is_traded_since
from {POSITION_QUERIES.unnest("q")}
left join preflight.positions own on own.follow_id = q.follow_id and own.token_id = q.token_id
left join preflight.leader_levels level
  on level.follow_id = q.follow_id and level.token_id = q.token_id
order by q.n
"""
LOAD_OPEN_INTENTS = f"""
select q.n, r.intent_id, r.side, r.reserved_shares
from {POSITION_QUERIES.unnest("q")}
join preflight.reservations r
  on r.proxy = q.proxy and r.settled_at is null
 and r.follow_id = q.follow_id and r.token_id = q.token_id
where r.intent_id <> q.intent_id
order by q.n, r.judged_at, r.intent_id
"""
LOAD_DELAYED_ENTRIES = f"""
select q.n, d.intent
from {POSITION_QUERIES.unnest("q")}
join preflight.delayed_entries d
  on d.proxy = q.proxy and d.intent_id <> q.intent_id
 and {stored_json("d.intent")} ->> 'follow_id' = q.follow_id
 and {stored_json("d.intent")} ->> 'token_id' = q.token_id
where not {sql_is_judged("d")}
order by q.n, d.number
"""
LOAD_AWAITED_ENTRIES = f"""
select q.n, i.intent_id, case when i.settled_at is not null then i.filled_shares end as bought
from {POSITION_QUERIES.unnest("q")}
join preflight.exits e on e.exit_id = q.exit_id
cross join unnest(e.awaited_entries) as awaited(intent_id)
cross join lateral (
    select * from preflight.intents where intent_id = awaited.intent_id offset 0
) as i
"""
LOAD_EXITS = f"""
select q.n, e.*
from {POSITION_QUERIES.unnest("q")}
join lateral (
    select * from preflight.exits each
    where each.follow_id = q.follow_id and each.token_id = q.token_id and each.state = 'open'
    union
    select * from preflight.exits each where each.exit_id = q.exit_id
    union
    select awaited.* from preflight.exits each
    join preflight.exits awaited on awaited.exit_id = any(each.awaited_exits)
    where each.exit_id = q.exit_id
) as e on true
order by q.n, e.expires_at, e.exit_id
"""
"""Of each query the follow's open exits in the token, its own exit, and those that this awaits."""

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
INTENTS = Batch({**INTENT_COLUMNS.types, **VERDICT_COLUMNS.types, "cap_scopes": "text"})
"""The scopes as JSON: arrays of different lengths cannot be unnested."""
_INSERT_INTENTS = f"""
with given as materialized (
    select * from {INTENTS.unnest("g")}
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
           array(select json_array_elements_text(cast(g.cap_scopes as json)))
    from given g join inserted using (intent_id)
    where g.state = 'approved'
), delayed as (
    select d.intent_id, g.judged_at
    from preflight.delayed_entries d join given g using (intent_id)
    order by d.intent_id for update of d
)"""
RECORD_INTENTS = f"""
{_INSERT_INTENTS}, ended as (
    delete from preflight.delayed_entries d using delayed where d.intent_id = delayed.intent_id
)
select intent_id from inserted
"""
LET_GO = f"""
{_INSERT_INTENTS}, due as (
    update preflight.delayed_entries d
    set due_at = least(d.due_at, delayed.judged_at),
        expires_at = least(d.expires_at, delayed.judged_at)
    from delayed where d.intent_id = delayed.intent_id
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
SAVE_EXITS = f"""
insert into preflight.exits ({EXIT_COLUMNS.names}, awaited_entries, awaited_exits)
select {EXIT_COLUMNS.prefixed("g")},
       array(select json_array_elements_text(cast(g.awaited_entries as json))),
       array(select json_array_elements_text(cast(g.awaited_exits as json)))
from {EXITS.unnest("g")}
order by g.exit_id
on conflict (exit_id) do update
set shares = excluded.shares, sold_shares = excluded.sold_shares, attempts = excluded.attempts,
    state = excluded.state, reason = excluded.reason,
    next_attempt_at = excluded.next_attempt_at, updated_at = excluded.updated_at
"""

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
SETTLE = f"""
with unsettled as (
    select r.*, g.state, g.reason, g.settled_at as now, g.usdc + g.fee_usdc as cost_usdc, g.usdc,
           g.shares
    from (select * from {REPORTS.unnest("g")} order by intent_id) as g
    cross join lateral (
        select * from preflight.reservations
        where intent_id = g.intent_id and settled_at is null
        offset 0 for update
    ) as r
), settled as (
    update preflight.reservations r
    set settled_at = u.now,
        reserved_usdc = case when u.reserved_usdc > 0 then u.cost_usdc else 0 end,
        reserved_shares = case when u.reserved_shares > 0 then u.shares else 0 end,
        cap_usdc = case when u.cap_usdc > 0 then u.usdc else 0 end
    from unsettled u
    where r.intent_id = u.intent_id
    returning r.*, u.state, u.reason, u.shares as filled_shares,
              {sql_hour("r.judged_at")} as hour, u.cap_usdc - r.cap_usdc as unused,
              coalesce(r.cap_scopes, array['follow:' || r.follow_id, 'follower:' || r.proxy])
              as scopes
), ended as (
    update preflight.intents i
    set state = s.state, reason = s.reason, settled_at = s.settled_at,
        filled_shares = s.filled_shares, reserved_usdc = s.reserved_usdc,
        reserved_shares = s.reserved_shares, cap_usdc = s.cap_usdc
    from settled s
    where i.intent_id = s.intent_id
    returning i.intent_id
), released as (
    select each.scope, jsonb_object_agg(each.hour, each.unused) as usdc_by_hour
    from (
        select scope, hour, sum(unused) as unused
        from settled, unnest(scopes) as of(scope)
        where unused <> 0 group by scope, hour
    ) as each
    where each.scope in (select scope from preflight.spending_windows)
    group by each.scope
), freed as (
    insert into preflight.spending_windows as w (scope, usdc_by_hour)
    select scope, usdc_by_hour from released
    where (select count(*) from ended) >= 0
    order by scope
    on conflict (scope) do update set usdc_by_hour = coalesce((
        select jsonb_object_agg(
            spent.key,
            spent.value::bigint - coalesce((excluded.usdc_by_hour ->> spent.key)::bigint, 0)
        )
        from jsonb_each_text(w.usdc_by_hour) as spent
    ), '{{}}')
    returning w.scope
), held as (
    insert into preflight.positions (follow_id, token_id, proxy, shares)
    select follow_id, token_id, min(proxy),
           sum(case side when 'BUY' then filled_shares else -filled_shares end)
    from settled
    where filled_shares > 0 and (select count(*) from freed) >= 0
    group by follow_id, token_id
    order by follow_id, token_id
    on conflict (follow_id, token_id) do update set shares = positions.shares + excluded.shares
    returning follow_id
), awaiting as (
    select e.exit_id, max(s.settled_at) as settled_at
    from settled s cross join lateral (
        select exit_id, awaited_entries from preflight.exits
        where follow_id = s.follow_id and token_id = s.token_id and state = 'open' offset 0
    ) as e
    where s.side = 'BUY' and (select count(*) from held) >= 0
      and not exists (
          select from preflight.reservations r
          where r.intent_id = any(e.awaited_entries) and r.settled_at is null
            and r.intent_id not in (select intent_id from settled)
      )
    group by e.exit_id
), due as (
    select e.exit_id, a.settled_at
    from (select * from awaiting order by exit_id) as a
    cross join lateral (
        select exit_id from preflight.exits
        where exit_id = a.exit_id and state = 'open' and shares is null
          and next_attempt_at > a.settled_at
        offset 0 for update
    ) as e
), woken as (
    update preflight.exits e set next_attempt_at = due.settled_at
    from due
    where e.exit_id = due.exit_id
)
select intent_id from settled
"""
"""Everything that follows from a final order, once: what it did not use is released, what it filled
changes the follow's position, and the exits that await nothing else are attempted at once.

What is released returns to the hour that it was reserved in, unless that hour is over for good. Its
row exists, so that the insert is an update in the order of ``caps.RESERVE``. The counts make each
step come after the one before it: by themselves they would run in the reverse order, and lock rows
in it. ``offset 0`` makes a lookup of each row of what might be planned as a scan."""
