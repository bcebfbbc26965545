"""Settles final orders, in one statement for a group of them."""

from collections.abc import Sequence
from datetime import datetime

from services.preflight.adapters.caps import sql_hour
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
in it. ``offset 0`` makes a lookup of each row of what might be planned as a scan."""


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
