"""Executor's books in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.decisions import Order, VenueReply, is_news
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.db.leases import Lease, NotLeaseHolder
from shared.domain.money import Side
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState, TradeReported, TradeStatus
from shared.messages.transactions import TransactionResolved
from shared.observe import metrics, tracing

Result = TypeVar("Result")

FENCE = """
with fence as materialized (
    select l.partition, l.token from control.leases l
    where l.service = 'executor'
      and (l.partition, l.token) in (select * from unnest(cast(:partitions as integer[]), cast(:tokens as bigint[])))
    for share
)
"""
"""Nothing is written under a lease that is not the newest of its partition; while it is being
written, no newer one is given out."""
RECORD = (
    FENCE
    + """
insert into executor.orders (intent_id, proxy, order_hash, body, side, token_id, leader, leader_price, limit_price, fee_rate, state, reason,
                             traceparent, expires_at, title, outcome, seen_at, intended_at, quoted_at, approved_at, signed_at,
                             requested_shares, intent)
select g.intent_id, g.proxy, g.order_hash, g.body, g.side, g.token_id, g.leader, g.leader_price, g.limit_price, g.fee_rate, g.state,
       g.reason, g.traceparent, g.expires_at, g.title, g.outcome, g.seen_at, g.intended_at, g.quoted_at, g.approved_at, g.signed_at,
       g.requested_shares, g.intent
from unnest(cast(:ids as text[]), cast(:proxies as text[]), cast(:hashes as text[]), cast(:bodies as text[]),
            cast(:sides as text[]), cast(:outcome_tokens as text[]), cast(:leaders as text[]), cast(:leader_prices as numeric[]),
            cast(:limits as numeric[]), cast(:fee_rates as numeric[]), cast(:states as text[]), cast(:reasons as text[]),
            cast(:traces as text[]), cast(:expire as timestamptz[]), cast(:titles as text[]), cast(:outcomes as text[]),
            cast(:seen as timestamptz[]), cast(:intended as timestamptz[]), cast(:quoted as timestamptz[]),
            cast(:approved as timestamptz[]), cast(:signed as timestamptz[]), cast(:asked as bigint[]), cast(:intents as text[]),
            cast(:partitions as integer[]), cast(:tokens as bigint[]))
     as g(intent_id, proxy, order_hash, body, side, token_id, leader, leader_price, limit_price, fee_rate, state, reason, traceparent,
          expires_at, title, outcome, seen_at, intended_at, quoted_at, approved_at, signed_at, requested_shares, intent, partition, token)
join fence using (partition, token)
on conflict (intent_id) do nothing
returning intent_id
"""
)
LOAD = "select * from executor.orders where intent_id = any(cast(:ids as text[]))"
SAVE = text(
    FENCE
    + """
update executor.orders o
set state = g.state, reason = g.reason, shares = g.shares, usdc = g.usdc, fee_usdc = g.fee_usdc,
    last_reply = g.last_reply, unverified_since = g.unverified_since, empty_lookups = g.empty_lookups, alerted_at = coalesce(o.alerted_at, g.alerted_at),
    posted_at = coalesce(o.posted_at, g.posted_at),
    answered_at = coalesce(o.answered_at, case when g.state <> 'signed' then g.saved_at end),
    confirmed_at = case when g.state = 'confirmed' then coalesce(o.confirmed_at, g.saved_at) end
from unnest(cast(:ids as text[]), cast(:states as text[]), cast(:reasons as text[]), cast(:shares as bigint[]), cast(:usdc as bigint[]),
            cast(:fees as bigint[]), cast(:told as text[]), cast(:doubted as timestamptz[]), cast(:looks as bigint[]),
            cast(:alerted as timestamptz[]), cast(:posted as timestamptz[]), cast(:saved as timestamptz[]),
            cast(:partitions as integer[]), cast(:tokens as bigint[]))
     as g(intent_id, state, reason, shares, usdc, fee_usdc, last_reply, unverified_since, empty_lookups, alerted_at, posted_at, saved_at, partition, token)
join fence using (partition, token)
join executor.orders before on before.intent_id = g.intent_id
where o.intent_id = g.intent_id
returning o.intent_id, o.state, before.state <> o.state as moved
"""
)
BOOK = text(
    FENCE
    + """
insert into executor.trades (order_hash, trade_id, intent_id, proxy, token_id, side, status, shares, usdc, fee_usdc, transaction_hash,
                             matched_at, updated_at)
select g.order_hash, g.trade_id, g.intent_id, g.proxy, g.token_id, g.side, g.status, g.shares, g.usdc, g.fee_usdc, g.transaction_hash,
       g.matched_at, g.updated_at
from unnest(cast(:hashes as text[]), cast(:trades as text[]), cast(:ids as text[]), cast(:proxies as text[]),
            cast(:outcome_tokens as text[]), cast(:sides as text[]), cast(:states as text[]), cast(:shares as bigint[]),
            cast(:usdc as bigint[]), cast(:fees as bigint[]), cast(:transactions as text[]), cast(:matched as timestamptz[]),
            cast(:at as timestamptz[]), cast(:partitions as integer[]), cast(:tokens as bigint[]))
     as g(order_hash, trade_id, intent_id, proxy, token_id, side, status, shares, usdc, fee_usdc, transaction_hash, matched_at, updated_at,
          partition, token)
join fence using (partition, token)
on conflict (order_hash, trade_id) do update
set status = excluded.status, updated_at = excluded.updated_at,
    transaction_hash = case when excluded.transaction_hash <> '' then excluded.transaction_hash else trades.transaction_hash end
returning trades.*
"""
)
TRADES = "select * from executor.trades where order_hash = any(cast(:hashes as text[])) order by matched_at, trade_id"
RESOLVE = text("""
with told as (
    select * from unnest(cast(:transactions as text[]), cast(:states as text[]), cast(:at as timestamptz[]))
                  as g(transaction_hash, state, at)
), settled as (
    select transaction_hash, order_hash, sum(shares)::bigint as shares, sum(usdc)::bigint as usdc, sum(fee_usdc)::bigint as fee_usdc
    from unnest(cast(:of as text[]), cast(:hashes as text[]), cast(:shares as bigint[]), cast(:usdc as bigint[]), cast(:fees as bigint[]))
         as g(transaction_hash, order_hash, shares, usdc, fee_usdc)
    group by transaction_hash, order_hash
), known as (
    select order_hash, trade_id, transaction_hash, count(*) over (partition by transaction_hash, order_hash) as trades_of_order
    from executor.trades where transaction_hash = any(cast(:transactions as text[]))
)
update executor.trades t
set chain_state = told.state, updated_at = told.at,
    shares = coalesce(s.shares, t.shares), usdc = coalesce(s.usdc, t.usdc), fee_usdc = coalesce(s.fee_usdc, t.fee_usdc)
from known
join told on told.transaction_hash = known.transaction_hash
left join settled s on s.transaction_hash = known.transaction_hash and s.order_hash = known.order_hash and known.trades_of_order = 1
where known.order_hash = t.order_hash and known.trade_id = t.trade_id
  and (t.chain_state <> 'final' or told.state = 'final')
  and (t.chain_state, t.shares, t.usdc, t.fee_usdc)
      is distinct from (told.state, coalesce(s.shares, t.shares), coalesce(s.usdc, t.usdc), coalesce(s.fee_usdc, t.fee_usdc))
""")
"""The chain names orders, not trades: its figures are those of a trade only where it is its order's
only one in the transaction.

What is final stands, whatever is delivered again; and what is told again moves nothing, not even
the time of the last change."""
OPEN_ORDERS = "select * from executor.orders where state in ('signed', 'unknown', 'matched') order by proxy, signed_at"

HELD = """
select l.partition, l.token from control.leases l
where l.service = 'executor' and (l.partition, l.token) in (select * from unnest(cast(:partitions as integer[]), cast(:tokens as bigint[])))
for share
"""

Recording = tuple[Order, IntentApproved, str | None, Lease]
Saving = tuple[Order, datetime, Lease]
Booking = tuple[TradeReported, datetime, Lease]
Resolving = tuple[TransactionResolved, datetime, Lease]


class LeaseHolder(Protocol):
    """Which lease is this instance's for a proxy?"""

    def lease_for(self, key: str) -> Lease:
        """Raises: NotTheHolder."""
        ...


class PostgresOrders:
    """Everything goes in groups: one statement for all proxies whose orders are under way, each row
    under the lease of its proxy.
    """

    def __init__(self, engine: AsyncEngine, leases: LeaseHolder) -> None:
        self._engine, self._leases = engine, leases
        self._record = GroupCommit(self._record_all)
        self._load = GroupCommit(self._load_all)
        self._save = GroupCommit(self._save_all)
        self._book = GroupCommit(self._book_all)
        self._booked = GroupCommit(self._booked_of_all)
        self._resolve = GroupCommit(self._resolve_all)

    async def record(self, order: Order, approved: IntentApproved) -> Order:
        return _if_held(
            await self._record(
                (order, approved, tracing.inject(), self._leases.lease_for(order.proxy))
            )
        )

    async def load(self, intent_id: str) -> Order | None:
        return await self._load(intent_id)

    async def save(self, order: Order, *, now: datetime) -> None:
        _if_held(await self._save((order, now, self._leases.lease_for(order.proxy))))

    async def record_trade(
        self, trade: TradeReported, *, now: datetime
    ) -> tuple[TradeReported, ...]:
        return _if_held(await self._book((trade, now, self._leases.lease_for(trade.proxy))))

    async def load_trades(self, order_hash: str) -> tuple[TradeReported, ...]:
        return await self._booked(order_hash)

    async def resolve(self, result: TransactionResolved, *, now: datetime) -> None:
        _if_held(await self._resolve((result, now, self._leases.lease_for(result.proxy))))

    async def open_orders(self) -> list[Order]:
        """All that are not final, of all instances. Raises: Transient."""
        async with autocommit(self._engine) as connection:
            return [parse_order(row) for row in await fetch_rows(connection, OPEN_ORDERS)]

    async def _record_all(self, recordings: Sequence[Recording]) -> list[Order | NotLeaseHolder]:
        async with autocommit(self._engine) as connection:
            inserted = await fetch_rows(connection, RECORD, **_order_columns(recordings))
            fresh = {row.intent_id for row in inserted}
            known = [order.intent_id for order, *_ in recordings if order.intent_id not in fresh]
            standing = (
                {
                    row.intent_id: parse_order(row)
                    for row in await fetch_rows(connection, LOAD, ids=known)
                }
                if known
                else {}
            )
        for order, approved, *_ in recordings:
            if order.intent_id in fresh:
                _measure_stages(order, approved)
        return [
            order if order.intent_id in fresh else standing.get(order.intent_id, _refused(lease))
            for order, _, _, lease in recordings
        ]

    async def _load_all(self, ids: Sequence[str]) -> list[Order | None]:
        async with autocommit(self._engine) as connection:
            found = {
                row.intent_id: parse_order(row)
                for row in await fetch_rows(connection, LOAD, ids=list(ids))
            }
        return [found.get(intent_id) for intent_id in ids]

    async def _save_all(self, savings: Sequence[Saving]) -> list[NotLeaseHolder | None]:
        saved = [order for order, _, _ in savings]
        columns = _lease_columns([lease for *_, lease in savings]) | {
            "ids": [order.intent_id for order in saved],
            "states": [order.state.value for order in saved],
            "reasons": [order.reason for order in saved],
            "shares": [order.shares for order in saved],
            "usdc": [order.usdc for order in saved],
            "fees": [order.fee_usdc for order in saved],
            "told": [order.last_reply.value for order in saved],
            "doubted": [order.unverified_since for order in saved],
            "looks": [order.empty_lookups for order in saved],
            "alerted": [order.alerted_at for order in saved],
            "posted": [order.posted_at for order in saved],
            "saved": [now for _, now, _ in savings],
        }
        async with autocommit(self._engine) as connection:
            kept = {
                row.intent_id: row for row in (await connection.execute(SAVE, columns)).fetchall()
            }
        for row in kept.values():
            if row.moved:
                metrics.copy_state_reached(OrderState(row.state))
        return [None if order.intent_id in kept else _refused(lease) for order, _, lease in savings]

    async def _book_all(
        self, bookings: Sequence[Booking]
    ) -> list[tuple[TradeReported, ...] | NotLeaseHolder]:
        hashes = [trade.order_hash for trade, *_ in bookings]
        async with autocommit(self._engine) as connection:
            known = {
                (row.order_hash, row.trade_id): _trade(row)
                for row in await fetch_rows(connection, TRADES, hashes=hashes)
            }
            news = [
                booking
                for booking in bookings
                if is_news(known.get((booking[0].order_hash, booking[0].trade_id)), booking[0])
            ]
            booked = (
                (await connection.execute(BOOK, _trade_columns(news))).fetchall() if news else ()
            )
        kept = {(row.order_hash, row.trade_id): _trade(row) for row in booked}
        refused = {trade.order_hash for trade, *_ in news} - {order_hash for order_hash, _ in kept}
        standing = sorted(
            (known | kept).values(), key=lambda trade: (trade.matched_at, trade.trade_id)
        )
        found = zip(bookings, _by_order(standing, hashes), strict=True)
        return [
            _refused(lease) if trade.order_hash in refused else trades
            for (trade, _, lease), trades in found
        ]

    async def _booked_of_all(self, hashes: Sequence[str]) -> list[tuple[TradeReported, ...]]:
        async with autocommit(self._engine) as connection:
            return _by_order(
                [_trade(row) for row in await fetch_rows(connection, TRADES, hashes=list(hashes))],
                hashes,
            )

    async def _resolve_all(self, resolvings: Sequence[Resolving]) -> list[NotLeaseHolder | None]:
        async with transaction(self._engine) as connection:
            leases = _lease_columns([lease for *_, lease in resolvings])
            held = {
                (row.partition, row.token) for row in await fetch_rows(connection, HELD, **leases)
            }
            told = [
                (result, now)
                for result, now, lease in resolvings
                if (lease.partition, lease.token) in held
            ]
            await connection.execute(RESOLVE, _resolution_columns(told))
        return [
            None if (lease.partition, lease.token) in held else _refused(lease)
            for *_, lease in resolvings
        ]


def _if_held(result: Result | NotLeaseHolder) -> Result:
    """Raises: NotTheHolder."""
    if isinstance(result, NotLeaseHolder):
        raise result
    return result


def _refused(lease: Lease) -> NotLeaseHolder:
    return NotLeaseHolder(
        f"partition {lease.partition} has gone to another instance, nothing is written for it here"
    )


def _lease_columns(leases: Sequence[Lease]) -> dict[str, list[Any]]:
    return {
        "partitions": [lease.partition for lease in leases],
        "tokens": [lease.token for lease in leases],
    }


def _resolution_columns(
    told: Sequence[tuple[TransactionResolved, datetime]],
) -> dict[str, list[Any]]:
    newest = {
        result.transaction_hash: (result, now) for result, now in told
    }  # of one transaction, the last word counts
    answers = {
        result.request_id: result for result, _ in told
    }  # which tells the fills of one wallet
    fills = [
        (result.transaction_hash, fill) for result in answers.values() for fill in result.fills
    ]
    return {
        "transactions": list(newest),
        "states": [result.state.value for result, _ in newest.values()],
        "at": [now for _, now in newest.values()],
        "of": [transaction_hash for transaction_hash, _ in fills],
        "hashes": [fill.order_hash for _, fill in fills],
        "shares": [fill.shares for _, fill in fills],
        "usdc": [fill.usdc for _, fill in fills],
        "fees": [fill.fee_usdc for _, fill in fills],
    }


def _by_order(
    trades: Sequence[TradeReported], hashes: Sequence[str]
) -> list[tuple[TradeReported, ...]]:
    return [
        tuple(trade for trade in trades if trade.order_hash == order_hash) for order_hash in hashes
    ]


def _measure_stages(order: Order, approved: IntentApproved) -> None:
    """How long each stage took the copy, counted from when its leader's fill was seen."""
    intent = approved.intent
    reached = {
        metrics.Stage.INTENDED: intent.intended_at,
        metrics.Stage.APPROVED: approved.occurred_at,
        metrics.Stage.SIGNED: order.signed_at,
    }
    for stage, at in reached.items():
        metrics.stage_reached(stage, (at - intent.seen_at).total_seconds())


def _order_columns(recordings: Sequence[Recording]) -> dict[str, list[Any]]:
    orders = [order for order, *_ in recordings]
    approvals = [approved for _, approved, *_ in recordings]
    return _lease_columns([lease for *_, lease in recordings]) | {
        "ids": [order.intent_id for order in orders],
        "proxies": [order.proxy for order in orders],
        "hashes": [order.order_hash for order in orders],
        "bodies": [order.body for order in orders],
        "sides": [order.side.value for order in orders],
        "outcome_tokens": [order.token_id for order in orders],
        "leaders": [order.leader for order in orders],
        "leader_prices": [approved.intent.leader_price for approved in approvals],
        "limits": [approved.limit_price for approved in approvals],
        "fee_rates": [order.fee_rate for order in orders],
        "states": [order.state.value for order in orders],
        "reasons": [order.reason for order in orders],
        "traces": [trace for _, _, trace, _ in recordings],
        "expire": [order.expires_at for order in orders],
        "titles": [approved.intent.title for approved in approvals],
        "outcomes": [approved.intent.outcome for approved in approvals],
        "seen": [approved.intent.seen_at for approved in approvals],
        "intended": [approved.intent.intended_at for approved in approvals],
        "quoted": [approved.quote.fetched_at for approved in approvals],
        "approved": [approved.occurred_at for approved in approvals],
        "signed": [order.signed_at for order in orders],
        "asked": [approved.shares for approved in approvals],
        "intents": [
            approved.intent.model_dump_json() if approved.shares else "" for approved in approvals
        ],
    }


def _trade_columns(bookings: Sequence[Booking]) -> dict[str, list[Any]]:
    trades = [trade for trade, *_ in bookings]
    return _lease_columns([lease for *_, lease in bookings]) | {
        "hashes": [trade.order_hash for trade in trades],
        "trades": [trade.trade_id for trade in trades],
        "ids": [trade.intent_id for trade in trades],
        "proxies": [trade.proxy for trade in trades],
        "outcome_tokens": [trade.token_id for trade in trades],
        "sides": [trade.side.value for trade in trades],
        "states": [trade.status.value for trade in trades],
        "shares": [trade.shares for trade in trades],
        "usdc": [trade.usdc for trade in trades],
        "fees": [trade.fee_usdc for trade in trades],
        "transactions": [trade.transaction_hash for trade in trades],
        "matched": [trade.matched_at for trade in trades],
        "at": [now for _, now, _ in bookings],
    }


def parse_order(row: Row[Any]) -> Order:
    return Order(
        intent_id=row.intent_id,
        proxy=row.proxy,
        leader=row.leader,
        order_hash=row.order_hash,
        body=row.body,
        side=Side(row.side),
        token_id=row.token_id,
        state=OrderState(row.state),
        fee_rate=row.fee_rate,
        expires_at=row.expires_at,
        signed_at=row.signed_at,
        posted_at=row.posted_at,
        shares=row.shares,
        usdc=row.usdc,
        fee_usdc=row.fee_usdc,
        reason=row.reason,
        traceparent=row.traceparent,
        last_reply=VenueReply(row.last_reply),
        unverified_since=row.unverified_since,
        empty_lookups=row.empty_lookups,
        alerted_at=row.alerted_at,
    )


def _trade(row: Row[Any]) -> TradeReported:
    price = row.usdc / Decimal(row.shares)
    return TradeReported(
        message_id=f"{row.order_hash}:{row.trade_id}:{row.status}",
        occurred_at=row.updated_at,
        proxy=row.proxy,
        intent_id=row.intent_id,
        order_hash=row.order_hash,
        trade_id=row.trade_id,
        status=TradeStatus(row.status),
        side=Side(row.side),
        token_id=row.token_id,
        shares=row.shares,
        price=price,
        usdc=row.usdc,
        fee_usdc=row.fee_usdc,
        transaction_hash=row.transaction_hash,
        matched_at=row.matched_at,
    )
