"""Settles final orders, in one statement for a group of them."""

from collections.abc import Sequence
from datetime import datetime

from services.preflight.adapters.caps import sql_hour
from services.preflight.adapters.reservations import sql_add_to_sums
from services.preflight.adapters.rows import build_attempt_row
from services.preflight.adapters.statements import ATTEMPTS, sql_save_attempted
from services.preflight.decisions import Exit
from shared.db import tables
from shared.db.engine import Connection, fetch_rows
from shared.db.sql import Batch
from shared.messages.orders import OrderReported

Settlement = tuple[OrderReported, Exit | None, datetime]
"""A final order, the exit that it was an attempt of as it is after it, and the current time."""

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
RESERVATIONS = Batch.from_table(tables.reservations, *tables.reservations.columns.keys())
INTENTS = Batch.from_table(tables.intents, *tables.intents.columns.keys())
CHANGED_OF_RESERVATION = ("reserved_usdc", "reserved_shares", "cap_usdc", "settled_at")
CHANGED_OF_INTENT = (*CHANGED_OF_RESERVATION, "state", "reason", "filled_shares")


def sql_set(changed: Sequence[str]) -> str:
    """What is set of a row that exists."""
    return ", ".join(f"{name} = excluded.{name}" for name in changed)


NO_LONGER_OPEN = """(
    select proxy, -was_reserved_usdc as usdc from settled
    where was_reserved_usdc > 0 and (select count(*) from ended) >= 0
) as g"""
SETTLE = f"""
with settled as (
    select r.intent_id, r.proxy, r.follow_id, r.token_id, r.side, r.judged_at, r.cap_scopes,
           g.state, g.reason, g.settled_at, g.shares as filled_shares,
           case when r.reserved_usdc > 0 then g.usdc + g.fee_usdc else 0 end as reserved_usdc,
           case when r.reserved_shares > 0 then g.shares else 0 end as reserved_shares,
           case when r.cap_usdc > 0 then g.usdc else 0 end as cap_usdc,
           case when r.cap_usdc > 0 then r.cap_usdc - g.usdc else 0 end as unused,
           r.reserved_usdc as was_reserved_usdc, {sql_hour("r.judged_at")} as hour,
           coalesce(r.cap_scopes, array['follow:' || r.follow_id, 'follower:' || r.proxy])
           as scopes
    from (
        select distinct on (intent_id) * from {REPORTS.unnest("g")} order by intent_id
    ) as g
    cross join lateral (
        select * from preflight.reservations
        where intent_id = g.intent_id and settled_at is null
        offset 0 for update
    ) as r
), written as (
    insert into preflight.reservations as r ({RESERVATIONS.names})
    select {RESERVATIONS.names} from settled
    order by intent_id
    on conflict (intent_id) do update set {sql_set(CHANGED_OF_RESERVATION)}
    returning r.intent_id
), ended as (
    insert into preflight.intents as i ({INTENTS.names})
    select {INTENTS.names} from (select *, '' as exit_id from settled) as ends
    where (select count(*) from written) >= 0 and (intent_id in (
        select intent_id from preflight.intents where intent_id = any(cast(:intent_id as text[]))
    )) is true
    order by intent_id
    on conflict (intent_id) do update set {sql_set(CHANGED_OF_INTENT)}
    returning i.intent_id
), summed as (
    {sql_add_to_sums(NO_LONGER_OPEN)}
), released as (
    select each.scope, jsonb_object_agg(each.hour, each.unused) as usdc_by_hour
    from (
        select scope, hour, sum(unused) as unused
        from settled, unnest(scopes) as of(scope)
        where unused <> 0 group by scope, hour
    ) as each
    cross join lateral (
        select from preflight.spending_windows where scope = each.scope offset 0
    ) as known
    group by each.scope
), freed as (
    insert into preflight.spending_windows as w (scope, usdc_by_hour)
    select scope, usdc_by_hour from released
    where (select count(*) from ended) >= 0 and (select count(*) from summed) >= 0
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
), attempted as (
    select g.* from {ATTEMPTS.unnest("g")} join settled s on s.intent_id = g.exit_attempt_id
    where (select count(*) from held) >= 0
), locked as (
    select e.exit_id
    from (
        select exit_id from awaiting union select exit_exit_id from attempted order by exit_id
    ) as each
    cross join lateral (
        select exit_id from preflight.exits where exit_id = each.exit_id offset 0 for update
    ) as e
), woken as (
    update preflight.exits e set next_attempt_at = a.settled_at
    from awaiting a join locked using (exit_id)
    where e.exit_id = a.exit_id and e.state = 'open' and e.shares is null
      and e.next_attempt_at > a.settled_at
      and e.exit_id not in (select exit_exit_id from attempted)
), saved as (
    {sql_save_attempted("(select * from attempted where (select count(*) from locked) >= 0) as g")}
)
select intent_id from settled
"""
"""Everything that follows from a final order, once: what it did not use is released, what it filled
changes the follow's position, the exit that it is an attempt of is recorded, and the exits that
await nothing else are attempted at once.

What is released returns to the hour that it was reserved in, unless that hour is over for good. Its
row exists, so that the insert is an update in the order of ``caps.RESERVE``. The counts make each
step come after the one before it: by themselves they would run in the reverse order, and lock rows
in it.

No plan depends on what the database takes the size of a table for, which is often of a moment when
nothing was open: ``offset 0`` makes a lookup of each row of what might be planned as a scan, and
rows that exist are changed by an insert with a conflict, which looks its rows up whatever the plan.
Those of intents and reservations are known, so that none is inserted; an intent's ``exit_id`` is
not among what is changed.
Intents, which are partitioned, are read by the given keys alone (docs/adr/0013)."""


async def settle(connection: Connection, settlements: Sequence[Settlement]) -> list[Exit]:
    """Return the exits of the orders that were not settled before. Raises: Transient."""
    reports = [
        {
            "intent_id": report.intent_id,
            "state": report.state.value,
            "reason": report.reason,
            "settled_at": now,
            "usdc": report.usdc,
            "fee_usdc": report.fee_usdc,
            "shares": report.shares,
        }
        for report, _, now in settlements
    ]
    exits = {report.intent_id: exit_ for report, exit_, _ in settlements if exit_ is not None}
    attempts = [
        build_attempt_row(exit_, report.intent_id, now=now)
        for report, exit_, now in settlements
        if exit_ is not None
    ]
    settled = await fetch_rows(
        connection, SETTLE, **REPORTS.parameters(reports), **ATTEMPTS.parameters(attempts)
    )
    return [exits[row.intent_id] for row in settled if row.intent_id in exits]
