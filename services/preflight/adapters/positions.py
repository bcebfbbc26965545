"""Loads what is recorded of the follows and tokens of exits."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from services.preflight.adapters.delays import sql_is_judged
from services.preflight.adapters.newest_copies import SQL_IS_TRADED_SINCE
from services.preflight.adapters.rows import build_position, build_position_query, parse_exit
from services.preflight.decisions import FollowPosition
from shared.db import tables
from shared.db.engine import Connection, fetch_rows
from shared.db.rows import Row
from shared.db.sql import Batch, stored_json
from shared.messages.intents import Intent

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
_OPEN_OF_QUERY = """
    from preflight.reservations r
    where r.proxy = q.proxy and r.settled_at is null
      and r.follow_id = q.follow_id and r.token_id = q.token_id and r.intent_id <> q.intent_id"""
LOAD_HELD = f"""
select q.n, coalesce(own.shares, 0) as shares,
       coalesce((select sum(each.shares) from preflight.positions each
                 where each.proxy = q.proxy and each.token_id = q.token_id), 0)::bigint
       as of_all_follows,
       level.block_number, level.reconciled_through, level.mirrored_through, level.sold_all,
       {SQL_IS_TRADED_SINCE} as is_traded_since,
       coalesce((select sum(r.reserved_shares) {_OPEN_OF_QUERY} and r.side = 'SELL'), 0)::bigint
       as reserved_shares,
       array(select r.intent_id {_OPEN_OF_QUERY} and r.side = 'BUY'
             order by r.judged_at, r.intent_id) as open_entries,
       exists (select from preflight.delayed_entries d
               where d.proxy = q.proxy and d.intent_id <> q.intent_id offset 0) as has_delayed,
       exists (select from preflight.exits e where e.exit_id = q.exit_id offset 0)
       or exists (select from preflight.exits e
                  where e.follow_id = q.follow_id and e.token_id = q.token_id
                    and e.state = 'open' offset 0) as has_exits
from {POSITION_QUERIES.unnest("q")}
left join preflight.positions own on own.follow_id = q.follow_id and own.token_id = q.token_id
left join preflight.leader_levels level
  on level.follow_id = q.follow_id and level.token_id = q.token_id
order by q.n
"""
"""All that there is of most positions; the next statements are for those that have more."""
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


async def load_positions(connection: Connection, intents: Sequence[Intent]) -> list[FollowPosition]:
    """Of each intent, in their order. Raises: Transient."""
    queries = [build_position_query(intent, n) for n, intent in enumerate(intents)]
    held = await fetch_rows(connection, LOAD_HELD, **POSITION_QUERIES.parameters(queries))
    of_exits = [query for query, row in zip(queries, held, strict=True) if row.has_exits]
    of_delayed = [query for query, row in zip(queries, held, strict=True) if row.has_delayed]
    delayed = await _load(connection, LOAD_DELAYED_ENTRIES, of_delayed)
    entries = await _load(connection, LOAD_AWAITED_ENTRIES, of_exits)
    exits = await _load(connection, LOAD_EXITS, of_exits)
    return [
        build_position(
            intent,
            row,
            delayed_entries=delayed[n],
            awaited_entries=entries[n],
            exits=[parse_exit(each) for each in exits[n]],
        )
        for n, (intent, row) in enumerate(zip(intents, held, strict=True))
    ]


async def _load(
    connection: Connection, statement: str, queries: Sequence[dict[str, Any]]
) -> dict[int, list[Row]]:
    """The rows of each query."""
    grouped: dict[int, list[Row]] = defaultdict(list)
    if queries:
        parameters = POSITION_QUERIES.parameters(queries)
        for row in await fetch_rows(connection, statement, **parameters):
            grouped[row.n].append(row)
    return grouped
