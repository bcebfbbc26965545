"""The SQL of executor's orders and trades; its column lists come from the declared tables.

Every write names the lease of each row's partition, and writes only rows whose lease is the newest.
"""

from sqlalchemy import text

from shared.db import tables
from shared.db.sql import Batch
from shared.db.tables import ORDER_IS_OPEN

LEASES = Batch.from_table(tables.leases, "partition", "token")


def with_lease(columns: Batch) -> Batch:
    """The columns and, for each row, partition and token of the lease that it is written under."""
    return Batch({**columns.types, **LEASES.types})


NEW_ORDERS = Batch.from_table(
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
    "state",
    "reason",
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
ORDER_UPDATES = Batch.from_table(
    tables.orders,
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
    saved_at="timestamptz",
)
TRADES = Batch.from_table(
    tables.trades,
    "order_hash",
    "trade_id",
    "intent_id",
    "proxy",
    "token_id",
    "side",
    "status",
    "shares",
    "usdc",
    "fee_usdc",
    "transaction_hash",
    "matched_at",
    "updated_at",
)
SETTLED_TRANSACTIONS = Batch.from_table(
    tables.trades, "transaction_hash", "chain_state", "updated_at"
)
SETTLED_FILLS = Batch.from_table(
    tables.trades, "order_hash", "shares", "usdc", "fee_usdc", settled_in="text"
)

LOCK_LEASES = f"""
    select l.partition, l.token from control.leases l
    where l.service = 'executor'
      and (l.partition, l.token) in (select * from {LEASES.unnest("named")})
    for share
"""
"""The newest leases among the named ones. Until the end of the statement, or of the transaction, no
newer lease is given out for their partitions."""

WITH_FENCE = f"with fence as materialized ({LOCK_LEASES})"
"""Begins a statement that joins ``fence`` to write nothing under a lease that is not the newest."""

RECORD_ORDERS = f"""
{WITH_FENCE}
insert into executor.orders ({NEW_ORDERS.names})
select {NEW_ORDERS.prefixed("g")}
from {with_lease(NEW_ORDERS).unnest("g")}
join fence using (partition, token)
on conflict (intent_id) do nothing
returning intent_id
"""

LOAD_ORDERS = """
select * from executor.orders where intent_id = any(cast(:intent_ids as text[]))
"""

LOAD_OPEN_ORDERS = f"select * from executor.orders where {ORDER_IS_OPEN} order by proxy, signed_at"

SAVE_ORDERS = f"""
{WITH_FENCE}
update executor.orders o
set state = g.state, reason = g.reason, shares = g.shares, usdc = g.usdc, fee_usdc = g.fee_usdc,
    last_reply = g.last_reply, unverified_since = g.unverified_since,
    empty_lookups = g.empty_lookups, alerted_at = coalesce(o.alerted_at, g.alerted_at),
    posted_at = coalesce(o.posted_at, g.posted_at),
    answered_at = coalesce(o.answered_at, case when g.state <> 'signed' then g.saved_at end),
    confirmed_at = case when g.state = 'confirmed' then coalesce(o.confirmed_at, g.saved_at) end
from {with_lease(ORDER_UPDATES).unnest("g")}
join fence using (partition, token)
join executor.orders before on before.intent_id = g.intent_id
where o.intent_id = g.intent_id
returning o.intent_id, o.state, before.state <> o.state as moved
"""

RECORD_TRADES = f"""
{WITH_FENCE}
insert into executor.trades ({TRADES.names})
select {TRADES.prefixed("g")}
from {with_lease(TRADES).unnest("g")}
join fence using (partition, token)
on conflict (order_hash, trade_id) do update
set status = excluded.status, updated_at = excluded.updated_at,
    transaction_hash = case when excluded.transaction_hash <> '' then excluded.transaction_hash
                            else trades.transaction_hash end
returning trades.*
"""

LOAD_TRADES = """
select * from executor.trades where order_hash = any(cast(:order_hashes as text[]))
order by matched_at, trade_id
"""

RECORD_SETTLEMENTS = text(f"""
with reported as (
    select * from {SETTLED_TRANSACTIONS.unnest("g")}
), settled as (
    select settled_in as transaction_hash, order_hash, sum(shares)::bigint as shares,
           sum(usdc)::bigint as usdc, sum(fee_usdc)::bigint as fee_usdc
    from {SETTLED_FILLS.unnest("g")}
    group by settled_in, order_hash
), known as (
    select order_hash, trade_id, transaction_hash,
           count(*) over (partition by transaction_hash, order_hash) as trades_of_order
    from executor.trades where transaction_hash = any(cast(:transaction_hash as text[]))
)
update executor.trades t
set chain_state = reported.chain_state, updated_at = reported.updated_at,
    shares = coalesce(s.shares, t.shares), usdc = coalesce(s.usdc, t.usdc),
    fee_usdc = coalesce(s.fee_usdc, t.fee_usdc)
from known
join reported on reported.transaction_hash = known.transaction_hash
left join settled s on s.transaction_hash = known.transaction_hash
    and s.order_hash = known.order_hash and known.trades_of_order = 1
where known.order_hash = t.order_hash and known.trade_id = t.trade_id
  and (t.chain_state <> 'final' or reported.chain_state = 'final')
  and (t.chain_state, t.shares, t.usdc, t.fee_usdc)
      is distinct from (reported.chain_state, coalesce(s.shares, t.shares),
                        coalesce(s.usdc, t.usdc), coalesce(s.fee_usdc, t.fee_usdc))
""")
"""The chain names orders, not trades: its amounts are those of a trade only where that is its
order's only trade in the transaction.

What is final never changes, whatever is delivered again; and what is reported again changes
nothing, not even the time of the last change."""
