"""The SQL of executor's orders and trades; its column lists come from the declared tables.

Every write names the lease of each row's partition, and writes only rows whose lease is the newest.

Every statement locks in one order: leases by partition, then orders and trades by their key. A row
of ``open_orders`` is only locked by who has the lock of its order's state.

Every statement names the ids of its intents: it reads the partitions of their weeks alone, however
much the others hold.
"""

from sqlalchemy import text

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
    is_late="boolean",
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
SETTLEMENTS = Batch.from_table(
    tables.trades, "intent_id", "transaction_hash", "chain_state", "updated_at"
)
SETTLED_FILLS = Batch.from_table(
    tables.trades, "order_hash", "shares", "usdc", "fee_usdc", settled_in="text", settled_for="text"
)

LOCK_LEASES = f"""
    select l.partition, l.token from control.leases l
    where l.service = 'executor'
      and (l.partition, l.token) in (select * from {LEASES.unnest("named")})
    order by l.partition
    for share
"""
"""The newest leases among the named ones. Until the end of the statement, or of the transaction, no
newer lease is given out for their partitions."""

WITH_FENCE = f"with fence as materialized ({LOCK_LEASES})"
"""Begins a statement that joins ``fence`` to write nothing under a lease that is not the newest."""

OPEN = literals(OPEN_ORDER_STATES)

RECORD_ORDERS = f"""
{WITH_FENCE}, new as materialized (
    select g.* from {with_lease(NEW_ORDERS).unnest("g")} join fence using (partition, token)
    order by g.intent_id
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
    select intent_id, proxy from new join stated using (intent_id) where state in {OPEN}
)
select intent_id from recorded join stated using (intent_id)
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
{WITH_FENCE}, named as (
    select g.* from {with_lease(ORDER_UPDATES).unnest("g")} join fence using (partition, token)
    order by g.intent_id
), locked as materialized (
    select named.*, before.state as state_before
    from named
    cross join lateral (
        select state from executor.order_states where intent_id = named.intent_id
        offset 0 for no key update
    ) as before
), saved as (
    update executor.order_states s
    set state = g.state, reason = g.reason, shares = g.shares, usdc = g.usdc, fee_usdc = g.fee_usdc,
        last_reply = g.last_reply, unverified_since = g.unverified_since,
        empty_lookups = g.empty_lookups, alerted_at = coalesce(s.alerted_at, g.alerted_at),
        posted_at = coalesce(s.posted_at, g.posted_at),
        answered_at = coalesce(
            s.answered_at, g.answered_at, case when g.state <> 'signed' then g.saved_at end
        ),
        confirmed_at = case when g.state = 'confirmed' then coalesce(s.confirmed_at, g.saved_at) end
    from locked g
    where s.intent_id = g.intent_id and (not g.is_late or g.state_before = 'signed')
    returning s.intent_id, g.proxy, s.state, g.state_before
), traded as (
    insert into executor.trades as t ({TRADES.names})
    select {NEW_TRADES.prefixed("g")}
    from {NEW_TRADES.unnest("g")} join saved on saved.intent_id = g.trade_intent_id
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
    select intent_id, proxy from saved where state in {OPEN} and state_before not in {OPEN}
    on conflict do nothing
)
select intent_id, state, state <> state_before as moved from saved
"""
"""The new states of orders, with the trades that they follow from: fills and end are one commit.

What the chain has made final of a trade is never replaced by what was known before it.

A trade that becomes known after the end opens its order again. What is saved late (``is_late``)
changes nothing of an order that anything was saved of since."""

LOAD_TRADES = """
select * from executor.trades where intent_id = any(cast(:intent_ids as text[]))
order by matched_at, trade_id
"""

RECORD_SETTLEMENTS = text(f"""
with reported as (
    select * from {SETTLEMENTS.unnest("g")}
), settled as (
    select settled_for as intent_id, settled_in as transaction_hash, order_hash,
           sum(shares)::bigint as shares, sum(usdc)::bigint as usdc,
           sum(fee_usdc)::bigint as fee_usdc
    from {SETTLED_FILLS.unnest("g")}
    group by settled_for, settled_in, order_hash
), locked as materialized (
    select intent_id, trade_id, order_hash, transaction_hash
    from executor.trades
    where intent_id = any(cast(:intent_id as text[]))
    order by intent_id, trade_id
    for no key update
), known as (
    select *, count(*) over (partition by intent_id, transaction_hash) as trades_of_order
    from locked
)
update executor.trades t
set chain_state = reported.chain_state, updated_at = reported.updated_at,
    shares = coalesce(s.shares, t.shares), usdc = coalesce(s.usdc, t.usdc),
    fee_usdc = coalesce(s.fee_usdc, t.fee_usdc)
from known
join reported using (intent_id, transaction_hash)
left join settled s on s.intent_id = known.intent_id
    and s.transaction_hash = known.transaction_hash
    and s.order_hash = known.order_hash and known.trades_of_order = 1
where known.intent_id = t.intent_id and known.trade_id = t.trade_id
  and t.intent_id = any(cast(:intent_id as text[]))
  and (t.chain_state <> 'final' or reported.chain_state = 'final')
  and (t.chain_state, t.shares, t.usdc, t.fee_usdc)
      is distinct from (reported.chain_state, coalesce(s.shares, t.shares),
                        coalesce(s.usdc, t.usdc), coalesce(s.fee_usdc, t.fee_usdc))
""")
"""The chain names orders, not trades: its amounts are those of a trade only where that is its
order's only trade in the transaction.

What is final never changes, whatever is delivered again; and what is reported again changes
nothing, not even the time of the last change."""
