"""The SQL of transfers, their attempts and the operator wallets.

What is written for an operator wallet names its lease, and is one statement: a process that is
paused holds no lock that the next holder waits for. It returns how many leases were the newest (1
or 0), and how many rows were written.
"""

from services.tx_monitor.decisions.transfers import CLOSED_STATES, OPEN_STATES
from shared.db import tables
from shared.db.sql import Batch, literals
from shared.messages.transfers import TransferState

OPEN = literals(sorted(OPEN_STATES))
CLOSED = literals(sorted(CLOSED_STATES))
NOT_CLOSED = literals(sorted(OPEN_STATES | {TransferState.QUEUED}))

WITH_FENCE = """
with fence as materialized (
    select partition from control.leases
    where service = :service and partition = :partition and token = :token
    for share
)
"""
"""Empty where the lease is not the newest one. Until the end of the statement no newer lease is
given out."""
WRITTEN = "select (select count(*) from fence) as leases, (select count(*) from written) as rows"

NEW_TRANSFERS = Batch.from_table(
    tables.transfers,
    "request_id",
    "proxy",
    "operator",
    "direction",
    "token_id",
    "amount",
    "purpose",
    "intent_id",
    "send_before",
    "state",
    "reason",
    "is_reported",
    "traceparent",
    "requested_at",
    "changed_at",
)
RECORD = f"""
insert into tx_monitor.transfers ({NEW_TRANSFERS.names})
select {NEW_TRANSFERS.prefixed("g")} from {NEW_TRANSFERS.unnest("g")}
order by g.request_id
on conflict (request_id) do nothing
returning request_id
"""
LOAD = "select * from tx_monitor.transfers where request_id = any(cast(:ids as text[]))"

LOAD_OPEN = f"""
select * from tx_monitor.transfers
where operator = :operator and state in {OPEN}
order by nonce
"""
LOAD_QUEUED = f"""
with queued as materialized (
    select *, row_number() over (partition by proxy order by requested_at, request_id) as place
    from tx_monitor.transfers
    where operator = :operator and state = 'queued'
), ready as (
    select *, row_number() over (partition by direction order by requested_at, request_id) as turn
    from queued q
    where q.send_before <= :now
       or q.place = 1 and not exists (
            select from tx_monitor.transfers o where o.proxy = q.proxy and o.state in {OPEN}
       )
)
select * from ready where turn <= :most order by requested_at, request_id
"""
"""The oldest of each proxy without an open transfer, and all whose time is over; at most so many of
each direction: those that take from proxies may have to wait, and must not hold up the others."""
LOAD_UNREPORTED = """
select * from tx_monitor.transfers
where operator = :operator and not is_reported and state <> 'queued'
order by changed_at, request_id
limit :most
"""
LOAD_ATTEMPTS = """
select * from tx_monitor.attempts where request_id = any(cast(:ids as text[])) order by number
"""
LOAD_OPERATOR = f"""
select coalesce(o.next_nonce, 0) as next_nonce, coalesce(o.halted_because, '') as halted_because,
       w.queued, w.oldest
from (
    select count(*) filter (where state = 'queued') as queued, min(requested_at) as oldest
    from tx_monitor.transfers
    where operator = :operator and state in {NOT_CLOSED}
) as w
left join tx_monitor.operators o on o.operator = :operator
"""

ATTEMPTS = Batch.from_table(
    tables.attempts,
    "tx_hash",
    "request_id",
    "number",
    "kind",
    "raw",
    "gas",
    "max_fee",
    "tip",
    "signed_at",
    "signed_at_block",
)
ADD_ATTEMPT = f"""
insert into tx_monitor.attempts ({ATTEMPTS.names})
select {ATTEMPTS.prefixed("g")} from {ATTEMPTS.unnest("g")} where exists (select from written)
"""
BEGIN = f"""
{WITH_FENCE}, written as (
    update tx_monitor.transfers t
    set state = 'sent', nonce = :nonce, is_reported = false, revision = :revision,
        changed_at = :now
    where t.request_id = :id and t.operator = :operator and t.state = 'queued'
      and exists (select from fence)
      and not exists (
            select from tx_monitor.transfers o where o.proxy = t.proxy and o.state in {OPEN}
      )
      and not exists (
            select from tx_monitor.operators o
            where o.operator = :operator and (o.next_nonce > :nonce or o.halted_because <> '')
      )
    returning t.request_id
), counted as (
    insert into tx_monitor.operators (operator, next_nonce)
    select :operator, cast(:nonce as bigint) + 1 from written
    on conflict (operator) do update set next_nonce = excluded.next_nonce
), added as ({ADD_ATTEMPT})
{WRITTEN}
"""
"""Changes nothing where the nonce was taken before, or the wallet is halted."""
SAVING = f"""
{WITH_FENCE}, written as (
    update tx_monitor.transfers
    set state = :state, reason = :reason, mined_hash = :mined_hash, block_number = :block_number,
        block_hash = :block_hash, is_reported = :is_reported, revision = :revision,
        changed_at = case
            when (state, block_hash) is distinct from (:state, :block_hash) then :now
            else changed_at
        end
    where request_id = :id and operator = :operator and state not in {CLOSED}
      and exists (select from fence)
    returning operator, state, reason
)"""
"""What is closed never changes, but by an operator's decision about a lost one."""
SAVE = f"""
{SAVING}, halted as (
    insert into tx_monitor.operators as o (operator, next_nonce, halted_because, halted_at)
    select operator, 0, cast(:because as text), cast(:now as timestamptz) from written
    where state = 'lost'
    on conflict (operator) do update
    set halted_because = excluded.halted_because, halted_at = excluded.halted_at
    where o.halted_because = ''
)
{WRITTEN}
"""
"""A wallet that is halted keeps the first reason."""
SAVE_WITH_ATTEMPT = f"""
{SAVING}, added as ({ADD_ATTEMPT})
{WRITTEN}
"""
MARK_REPORTED = f"""
{WITH_FENCE}, written as (
    update tx_monitor.transfers set is_reported = true
    where request_id = :id and operator = :operator and revision = :revision
      and exists (select from fence)
    returning request_id
)
{WRITTEN}
"""

LOAD_WALLETS = f"""
select distinct operator from tx_monitor.transfers
where not is_reported or state in {NOT_CLOSED}
order by operator
"""
"""Those with transfers that somebody must look after."""
