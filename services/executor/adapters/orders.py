"""Executor's books in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.decisions import Order, Told, is_news
from shared.db.engine import rows, single, transaction
from shared.db.group_commit import GroupCommit
from shared.domain.money import Side
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState, TradeReported, TradeStatus
from shared.messages.transactions import TransactionResolved
from shared.observe import metrics, tracing

RECORD = """
insert into executor.orders (intent_id, proxy, order_hash, body, side, token_id, leader, leader_price, limit_price, fee_rate, state, reason,
                             traceparent, expires_at, title, outcome, seen_at, intended_at, quoted_at, approved_at, signed_at)
select * from unnest(cast(:ids as text[]), cast(:proxies as text[]), cast(:hashes as text[]), cast(:bodies as text[]),
                     cast(:sides as text[]), cast(:tokens as text[]), cast(:leaders as text[]), cast(:leader_prices as numeric[]),
                     cast(:limits as numeric[]), cast(:fee_rates as numeric[]), cast(:states as text[]), cast(:reasons as text[]),
                     cast(:traces as text[]), cast(:expire as timestamptz[]), cast(:titles as text[]), cast(:outcomes as text[]),
                     cast(:seen as timestamptz[]), cast(:intended as timestamptz[]), cast(:quoted as timestamptz[]),
                     cast(:approved as timestamptz[]), cast(:signed as timestamptz[]))
on conflict (intent_id) do nothing
returning intent_id
"""
LOAD = "select * from executor.orders where intent_id = any(cast(:ids as text[]))"
SAVE = text("""
update executor.orders o
set state = g.state, reason = g.reason, shares = g.shares, usdc = g.usdc, fee_usdc = g.fee_usdc,
    told = g.told, doubted_since = g.doubted_since, looks = g.looks, alerted_at = coalesce(o.alerted_at, g.alerted_at),
    posted_at = coalesce(o.posted_at, g.posted_at),
    answered_at = coalesce(o.answered_at, case when g.state <> 'signed' then g.saved_at end),
    confirmed_at = case when g.state = 'confirmed' then coalesce(o.confirmed_at, g.saved_at) end
from unnest(cast(:ids as text[]), cast(:states as text[]), cast(:reasons as text[]), cast(:shares as bigint[]), cast(:usdc as bigint[]),
            cast(:fees as bigint[]), cast(:told as text[]), cast(:doubted as timestamptz[]), cast(:looks as bigint[]),
            cast(:alerted as timestamptz[]), cast(:posted as timestamptz[]), cast(:saved as timestamptz[]))
     as g(intent_id, state, reason, shares, usdc, fee_usdc, told, doubted_since, looks, alerted_at, posted_at, saved_at)
join executor.orders before on before.intent_id = g.intent_id
where o.intent_id = g.intent_id
returning o.state, before.state <> o.state as moved
""")
BOOK = text("""
insert into executor.trades (order_hash, trade_id, intent_id, proxy, token_id, side, status, shares, usdc, fee_usdc, transaction_hash,
                             matched_at, updated_at)
select * from unnest(cast(:hashes as text[]), cast(:trades as text[]), cast(:ids as text[]), cast(:proxies as text[]),
                     cast(:tokens as text[]), cast(:sides as text[]), cast(:states as text[]), cast(:shares as bigint[]),
                     cast(:usdc as bigint[]), cast(:fees as bigint[]), cast(:transactions as text[]), cast(:matched as timestamptz[]),
                     cast(:at as timestamptz[]))
on conflict (order_hash, trade_id) do update
set status = excluded.status, updated_at = excluded.updated_at,
    transaction_hash = case when excluded.transaction_hash <> '' then excluded.transaction_hash else trades.transaction_hash end
""")
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
""")
"""The chain names orders, not trades: its figures are those of a trade only where it is its order's only one in the transaction."""
OPEN_ORDERS = "select * from executor.orders where state in ('signed', 'unknown', 'matched') order by proxy, signed_at"

Recording = tuple[Order, IntentApproved, str | None]
Booking = tuple[TradeReported, datetime]


class PostgresOrders:
    """Everything goes in groups: one statement for all proxies whose orders are under way."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._record = GroupCommit(self._record_all)
        self._load = GroupCommit(self._load_all)
        self._save = GroupCommit(self._save_all)
        self._book = GroupCommit(self._book_all)
        self._booked = GroupCommit(self._booked_of_all)
        self._resolve = GroupCommit(self._resolve_all)

    async def record(self, order: Order, approved: IntentApproved) -> Order:
        return await self._record((order, approved, tracing.inject()))

    async def load(self, intent_id: str) -> Order | None:
        return await self._load(intent_id)

    async def save(self, order: Order, *, now: datetime) -> None:
        await self._save((order, now))

    async def book(self, trade: TradeReported, *, now: datetime) -> tuple[TradeReported, ...]:
        return await self._book((trade, now))

    async def booked(self, order_hash: str) -> tuple[TradeReported, ...]:
        return await self._booked(order_hash)

    async def resolve(self, result: TransactionResolved, *, now: datetime) -> None:
        await self._resolve((result, now))

    async def open_orders(self) -> list[Order]:
        """All that are not final, of all instances. Raises: Transient."""
        async with single(self._engine) as connection:
            return [_order(row) for row in await rows(connection, OPEN_ORDERS)]

    async def _record_all(self, recordings: Sequence[Recording]) -> list[Order]:
        async with transaction(self._engine) as connection:
            inserted = await rows(connection, RECORD, **_order_columns(recordings))
            fresh = {row.intent_id for row in inserted}
            known = [order.intent_id for order, _, _ in recordings if order.intent_id not in fresh]
            standing = {row.intent_id: _order(row) for row in await rows(connection, LOAD, ids=known)} if known else {}
        for order, approved, _ in recordings:
            if order.intent_id in fresh:
                _measure_stages(order, approved)
        return [standing.get(order.intent_id, order) for order, _, _ in recordings]

    async def _load_all(self, ids: Sequence[str]) -> list[Order | None]:
        async with single(self._engine) as connection:
            found = {row.intent_id: _order(row) for row in await rows(connection, LOAD, ids=list(ids))}
        return [found.get(intent_id) for intent_id in ids]

    async def _save_all(self, saved: Sequence[tuple[Order, datetime]]) -> list[None]:
        columns = {
            "ids": [order.intent_id for order, _ in saved],
            "states": [order.state.value for order, _ in saved],
            "reasons": [order.reason for order, _ in saved],
            "shares": [order.shares for order, _ in saved],
            "usdc": [order.usdc for order, _ in saved],
            "fees": [order.fee_usdc for order, _ in saved],
            "told": [order.told.value for order, _ in saved],
            "doubted": [order.doubted_since for order, _ in saved],
            "looks": [order.looks for order, _ in saved],
            "alerted": [order.alerted_at for order, _ in saved],
            "posted": [order.posted_at for order, _ in saved],
            "saved": [now for _, now in saved],
        }
        async with single(self._engine) as connection:
            kept = (await connection.execute(SAVE, columns)).fetchall()
        for row in kept:
            if row.moved:
                metrics.copy_outcome(row.state)
        return [None] * len(saved)

    async def _book_all(self, bookings: Sequence[Booking]) -> list[tuple[TradeReported, ...]]:
        hashes = [trade.order_hash for trade, _ in bookings]
        async with transaction(self._engine) as connection:
            known = {(row.order_hash, row.trade_id): _trade(row) for row in await rows(connection, TRADES, hashes=hashes)}
            news = [(trade, now) for trade, now in bookings if is_news(known.get((trade.order_hash, trade.trade_id)), trade)]
            if news:
                await connection.execute(BOOK, _trade_columns(news))
            standing = [_trade(row) for row in await rows(connection, TRADES, hashes=hashes)]
        return _by_order(standing, hashes)

    async def _booked_of_all(self, hashes: Sequence[str]) -> list[tuple[TradeReported, ...]]:
        async with single(self._engine) as connection:
            return _by_order([_trade(row) for row in await rows(connection, TRADES, hashes=list(hashes))], hashes)

    async def _resolve_all(self, told: Sequence[tuple[TransactionResolved, datetime]]) -> list[None]:
        newest = {result.transaction_hash: (result, now) for result, now in told}  # of one transaction, the last word counts
        answers = {result.request_id: result for result, _ in told}  # which tells the fills of one wallet
        fills = [(result.transaction_hash, fill) for result in answers.values() for fill in result.fills]
        columns = {
            "transactions": list(newest),
            "states": [result.state.value for result, _ in newest.values()],
            "at": [now for _, now in newest.values()],
            "of": [transaction_hash for transaction_hash, _ in fills],
            "hashes": [fill.order_hash for _, fill in fills],
            "shares": [fill.shares for _, fill in fills],
            "usdc": [fill.usdc for _, fill in fills],
            "fees": [fill.fee_usdc for _, fill in fills],
        }
        async with single(self._engine) as connection:
            await connection.execute(RESOLVE, columns)
        return [None] * len(told)


def _by_order(trades: Sequence[TradeReported], hashes: Sequence[str]) -> list[tuple[TradeReported, ...]]:
    return [tuple(trade for trade in trades if trade.order_hash == order_hash) for order_hash in hashes]


def _measure_stages(order: Order, approved: IntentApproved) -> None:
    """How long each stage took the copy, counted from when its leader's fill was seen."""
    intent = approved.intent
    reached = {"intended": intent.intended_at, "approved": approved.occurred_at, "signed": order.signed_at}
    for stage, at in reached.items():
        metrics.stage_latency(stage, (at - intent.seen_at).total_seconds())


def _order_columns(recordings: Sequence[Recording]) -> dict[str, list[Any]]:
    orders = [order for order, _, _ in recordings]
    approvals = [approved for _, approved, _ in recordings]
    return {
        "ids": [order.intent_id for order in orders],
        "proxies": [order.proxy for order in orders],
        "hashes": [order.order_hash for order in orders],
        "bodies": [order.body for order in orders],
        "sides": [order.side.value for order in orders],
        "tokens": [order.token_id for order in orders],
        "leaders": [order.leader for order in orders],
        "leader_prices": [approved.intent.leader_price for approved in approvals],
        "limits": [approved.limit_price for approved in approvals],
        "fee_rates": [order.fee_rate for order in orders],
        "states": [order.state.value for order in orders],
        "reasons": [order.reason for order in orders],
        "traces": [trace for _, _, trace in recordings],
        "expire": [order.expires_at for order in orders],
        "titles": [approved.intent.title for approved in approvals],
        "outcomes": [approved.intent.outcome for approved in approvals],
        "seen": [approved.intent.seen_at for approved in approvals],
        "intended": [approved.intent.intended_at for approved in approvals],
        "quoted": [approved.quote.fetched_at for approved in approvals],
        "approved": [approved.occurred_at for approved in approvals],
        "signed": [order.signed_at for order in orders],
    }


def _trade_columns(bookings: Sequence[Booking]) -> dict[str, list[Any]]:
    trades = [trade for trade, _ in bookings]
    return {
        "hashes": [trade.order_hash for trade in trades],
        "trades": [trade.trade_id for trade in trades],
        "ids": [trade.intent_id for trade in trades],
        "proxies": [trade.proxy for trade in trades],
        "tokens": [trade.token_id for trade in trades],
        "sides": [trade.side.value for trade in trades],
        "states": [trade.status.value for trade in trades],
        "shares": [trade.shares for trade in trades],
        "usdc": [trade.usdc for trade in trades],
        "fees": [trade.fee_usdc for trade in trades],
        "transactions": [trade.transaction_hash for trade in trades],
        "matched": [trade.matched_at for trade in trades],
        "at": [now for _, now in bookings],
    }


def _order(row: Row[Any]) -> Order:
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
        told=Told(row.told),
        doubted_since=row.doubted_since,
        looks=row.looks,
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
