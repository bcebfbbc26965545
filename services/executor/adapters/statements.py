"""The SQL of executor's orders and trades; its column lists come from the declared tables.

Every write names the lease of each row's partition, and writes only rows whose lease is the newest.

Every statement locks in one order: leases by partition, then orders and trades by their key. A row
of ``open_orders`` is only locked by who has the lock of its order's state.

Every statement names the ids of its intents: it reads the partitions of their weeks alone, however
much the others hold.

No plan rests on what the planner believes of a table, or of a batch. A row is looked up by its key
(``cross join lateral``, ``offset 0``) or written by it (``on conflict``). What is only kept where
it is among others is asked by ``(... in (select ...)) is true``: PostgreSQL hashes them, where it
may compare each with each in a join.

A statement that locks the rows that it reads, deletes or updates any reads partitioned tables only
by the keys that it is given: PostgreSQL 18 may end by a lookup for each row, with all connections
(docs/adr/0013). An insert that waits for a row in conflict looks nothing up again.
"""

from shared.db import tables
from shared.db.sql import Batch, literals
from shared.messages.orders import OPEN_ORDER_STATES

LEASES = Batch.from_table(tables.leases, "partition", "token")


def with_lease(columns: Batch) -> Batch:
    """The columns and, for each row, partition and token of the lease that it is written under."""
    return Batch({**columns.types, **LEASES.types})


ORDERS = Batch.from_table(
    tables.orders,
    "intent_id",
    "proxy",
    "order_hash",
    "body",
    "side",
    "token_id",
    "leader",
    "leader_price",
    "limit_price",
    "fee_rate",
    "traceparent",
    "expires_at",
    "title",
    "outcome",
    "seen_at",
    "intended_at",
    "quoted_at",
    "approved_at",
    "signed_at",
    "requested_shares",
)
NEW_ORDERS = Batch(
    {**ORDERS.types, **Batch.from_table(tables.order_states, "state", "reason").types}
)
ORDER_UPDATES = Batch.from_table(
    tables.order_states,
    "intent_id",
    "state",
    "reason",
    "shares",
    "usdc",
    "fee_usdc",
    "last_reply",
    "unverified_since",
    "empty_lookups",
    "alerted_at",
    "posted_at",
    "answered_at",
    proxy="text",
    saved_at="timestamptz",
)
TRADES = Batch.from_table(
    tables.trades,
    "intent_id",
    "trade_id",
    "order_hash",
    "proxy",
    "token_id",
    "side",
    "status",
    "shares",
    "usdc",
    "fee_usdc",
    "transaction_hash",
    "chain_state",
    "matched_at",
    "updated_at",
)
NEW_TRADES = Batch({f"trade_{name}": type_ for name, type_ in TRADES.types.items()})
"""The columns of trades beside those of their orders, under names of their own."""
SETTLEMENTS = Batch.from_table(tables.trades, "intent_id", reports="text")
"""``reports``: JSON, ``{transaction: {"state": …, "at": …, "amounts": {order: {"shares": …,
"usdc": …, "fee_usdc": …}}}}``, by the hashes of transactions and of orders."""

LOCK_LEASES = f"""
    select l.partition, l.token from control.leases l
    where l.service = 'executor'
      and ((l.partition, l.token) in (select * from {LEASES.unnest("named")})) is true
    order by l.partition
    for share
"""
"""The newest leases among the named ones. Until the end of the statement, or of the transaction, no
newer lease is given out for their partitions."""

WITH_FENCE = f"with fence as materialized ({LOCK_LEASES})"
"""Begins a statement that writes nothing under a lease that is not the newest."""
FENCED = "((partition, token) in (select partition, token from fence)) is true"
"""The condition of such a statement for each of its rows."""

OPEN = literals(OPEN_ORDER_STATES)

RECORD_ORDERS = f"""
{WITH_FENCE}, new as materialized (
    select * from {with_lease(NEW_ORDERS).unnest("g")} where {FENCED} order by intent_id
), recorded as (
    insert into executor.orders ({ORDERS.names})
    select {ORDERS.names} from new
    on conflict (intent_id) do nothing
    returning intent_id
), stated as (
    insert into executor.order_states (intent_id, state, reason)
    select intent_id, state, reason from new
    on conflict (intent_id) do nothing
    returning intent_id
), opened as (
    insert into executor.open_orders (intent_id, proxy)
    select intent_id, proxy from new
    where state in {OPEN} and (intent_id in (select intent_id from stated)) is true
)
select intent_id from recorded where (intent_id in (select intent_id from stated)) is true
"""
"""Returns those that were not known. A prune that was interrupted may have left one of the two
rows: it is kept, and the other one is recorded again."""

LOADED = """
    o.intent_id, o.proxy, o.leader, o.order_hash, o.body, o.side, o.token_id, o.fee_rate,
    o.expires_at, o.signed_at, o.traceparent, s.state, s.posted_at, s.shares, s.usdc, s.fee_usdc,
    s.reason, s.last_reply, s.unverified_since, s.empty_lookups, s.alerted_at
"""

LOAD_ORDERS = f"""
select {LOADED}
from unnest(cast(:intent_ids as text[])) as named(intent_id)
cross join lateral (
    select * from executor.orders o where o.intent_id = named.intent_id offset 0
) o
cross join lateral (
    select * from executor.order_states s where s.intent_id = named.intent_id offset 0
) s
"""

LOAD_OPEN_ORDERS = f"""
select {LOADED}
from executor.open_orders
cross join lateral (
    select * from executor.orders o where o.intent_id = open_orders.intent_id offset 0
) o
cross join lateral (
    select * from executor.order_states s where s.intent_id = open_orders.intent_id offset 0
) s
order by o.proxy, o.signed_at
"""
"""``offset 0``: each open order is looked up by its key. The planner would rather read whole tables
than look up a thousand orders in all partitions, and does not know that it is one of them each."""

LOAD_ORDERS_BY_HASH = f"""
select {LOADED}
from unnest(cast(:order_hashes as text[])) as named(order_hash)
cross join lateral (
    select * from executor.orders o where o.order_hash = named.order_hash offset 0
) o
cross join lateral (
    select * from executor.order_states s where s.intent_id = o.intent_id offset 0
) s
"""
"""By the index of each partition."""

SAVE_ORDERS = f"""
{WITH_FENCE}, before as materialized (
    select intent_id, state from executor.order_states
    where intent_id = any(cast(:intent_id as text[]))
), known as materialized (
    select * from {with_lease(ORDER_UPDATES).unnest("g")}
    where {FENCED} and (intent_id in (select intent_id from before)) is true
    order by intent_id
), updated as (
    insert into executor.order_states as s (
        intent_id, state, reason, shares, usdc, fee_usdc, last_reply, unverified_since,
        empty_lookups, alerted_at, posted_at, answered_at, confirmed_at
    )
    select intent_id, state, reason, shares, usdc, fee_usdc, last_reply, unverified_since,
           empty_lookups, alerted_at, posted_at,
           coalesce(answered_at, case when state <> 'signed' then saved_at end), saved_at
    from known
    on conflict (intent_id) do update
    set state = excluded.state, reason = excluded.reason, shares = excluded.shares,
        usdc = excluded.usdc, fee_usdc = excluded.fee_usdc, last_reply = excluded.last_reply,
        unverified_since = excluded.unverified_since, empty_lookups = excluded.empty_lookups,
        alerted_at = coalesce(s.alerted_at, excluded.alerted_at),
        posted_at = coalesce(s.posted_at, excluded.posted_at),
        answered_at = coalesce(s.answered_at, excluded.answered_at),
        confirmed_at = case
            when excluded.state = 'confirmed' then coalesce(s.confirmed_at, excluded.confirmed_at)
        end
    where not cast(:are_late as boolean) or s.state = 'signed'
    returning s.intent_id
), saved as materialized (
    select * from known where (intent_id in (select intent_id from updated)) is true
), traded as (
    insert into executor.trades as t ({TRADES.names})
    select {NEW_TRADES.prefixed("g")}
    from {NEW_TRADES.unnest("g")}
    where (g.trade_intent_id in (select intent_id from saved)) is true
    order by g.trade_intent_id, g.trade_trade_id
    on conflict (intent_id, trade_id) do update
    set status = excluded.status, shares = excluded.shares, usdc = excluded.usdc,
        fee_usdc = excluded.fee_usdc, transaction_hash = excluded.transaction_hash,
        chain_state = excluded.chain_state, updated_at = excluded.updated_at
    where t.chain_state <> 'final' or excluded.chain_state = 'final'
), closed as (
    delete from executor.open_orders
    where intent_id = any(array(select intent_id from saved where state not in {OPEN}))
), opened as (
    insert into executor.open_orders (intent_id, proxy)
    select intent_id, proxy from saved where state in {OPEN}
    on conflict do nothing
)
select intent_id, state,
       ((intent_id, state) in (select intent_id, state from before)) is not true as moved
from saved
"""
"""The new states of orders, with the trades that they follow from: fills and end are one commit.

Only orders that are known are saved, so that each is in conflict, and updated.

What the chain has made final of a trade is never replaced by what was known before it.

A trade that becomes known after the end opens its order again. What is saved late (``are_late``)
changes nothing of an order that anything was saved of since."""

LOAD_TRADES = """
select * from executor.trades where intent_id = any(cast(:intent_ids as text[]))
order by matched_at, trade_id
"""

LOCK_TRADES = """
select trade_id from executor.trades where intent_id = any(cast(:intent_id as text[]))
order by intent_id, trade_id
for no key update
"""
RECORD_SETTLEMENTS = f"""
with found as materialized (
    select t.*, cast(reported.reports as jsonb) -> t.transaction_hash as report
    from (select * from {SETTLEMENTS.unnest("g")} order by intent_id) as reported
    cross join lateral (
        select * from executor.trades where intent_id = reported.intent_id
        order by trade_id offset 0
    ) as t
), known as (
    select *, case
        when count(*) over (partition by intent_id, transaction_hash) = 1
        then report -> 'amounts' -> order_hash
    end as amounts
    from found
)
insert into executor.trades as t (
    intent_id, trade_id, order_hash, proxy, token_id, side, status, shares, usdc, fee_usdc,
    transaction_hash, chain_state, matched_at, updated_at
)
select intent_id, trade_id, order_hash, proxy, token_id, side, status,
       coalesce(cast(amounts ->> 'shares' as bigint), shares),
       coalesce(cast(amounts ->> 'usdc' as bigint), usdc),
       coalesce(cast(amounts ->> 'fee_usdc' as bigint), fee_usdc),
       transaction_hash, report ->> 'state', matched_at, cast(report ->> 'at' as timestamptz)
from known where report is not null
on conflict (intent_id, trade_id) do update
set chain_state = excluded.chain_state, updated_at = excluded.updated_at,
    shares = excluded.shares, usdc = excluded.usdc, fee_usdc = excluded.fee_usdc
where (t.chain_state <> 'final' or excluded.chain_state = 'final')
  and (t.chain_state, t.shares, t.usdc, t.fee_usdc)
      is distinct from
      (excluded.chain_state, excluded.shares, excluded.usdc, excluded.fee_usdc)
"""
"""The trades are known, and locked before (``LOCK_TRADES``): each one is in conflict, and updated.

The chain names orders, not trades: its amounts are those of a trade only where that is its
order's only trade in the transaction.

What is final never changes, whatever is delivered again; and what is reported again changes
nothing, not even the time of the last change."""
