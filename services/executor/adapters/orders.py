"""Executor's records of orders and trades in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters import statements
from services.executor.adapters.rows import (
    NewOrder,
    OrderUpdate,
    SettlementUpdate,
    TradeUpdate,
    build_lease_row,
    build_new_order_row,
    build_order_update_row,
    build_settlement_parameters,
    build_trade_row,
    parse_order,
    parse_trade,
)
from services.executor.decisions import Order, is_update
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import GroupCommit
from shared.db.leases import Lease, NotLeaseHolder
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState, TradeReported
from shared.messages.transactions import TransactionResolved
from shared.observe import metrics, tracing

Result = TypeVar("Result")


class LeaseHolder(Protocol):
    """The leases of this instance."""

    def lease_for(self, key: str) -> Lease:
        """The valid lease for a proxy. Raises: NotLeaseHolder."""
        ...


class PostgresOrders:
    """Reads and writes go out in groups: one statement for all proxies with orders under way, each
    row under the lease of its proxy.
    """

    def __init__(self, engine: AsyncEngine, leases: LeaseHolder) -> None:
        self._engine, self._leases = engine, leases
        self._record = GroupCommit(self._record_all)
        self._load = GroupCommit(self._load_all)
        self._save = GroupCommit(self._save_all)
        self._record_trade = GroupCommit(self._record_all_trades)
        self._load_trades = GroupCommit(self._load_all_trades)
        self._record_settlement = GroupCommit(self._record_all_settlements)

    async def record(self, order: Order, approved: IntentApproved) -> Order:
        lease = self._leases.lease_for(order.proxy)
        return _result_or_raise(
            await self._record(NewOrder(order, approved, tracing.inject(), lease))
        )

    async def load(self, intent_id: str) -> Order | None:
        return await self._load(intent_id)

    async def save(self, order: Order, *, now: datetime) -> None:
        lease = self._leases.lease_for(order.proxy)
        _result_or_raise(await self._save(OrderUpdate(order, now, lease)))

    async def record_trade(
        self, trade: TradeReported, *, now: datetime
    ) -> tuple[TradeReported, ...]:
        lease = self._leases.lease_for(trade.proxy)
        return _result_or_raise(await self._record_trade(TradeUpdate(trade, now, lease)))

    async def load_trades(self, intent_id: str) -> tuple[TradeReported, ...]:
        return await self._load_trades(intent_id)

    async def record_settlement(self, result: TransactionResolved, *, now: datetime) -> None:
        lease = self._leases.lease_for(result.proxy)
        _result_or_raise(await self._record_settlement(SettlementUpdate(result, now, lease)))

    async def load_open_orders(self) -> list[Order]:
        """All orders that are not final, of all instances. Raises: Transient."""
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_OPEN_ORDERS)
        return [parse_order(row) for row in rows]

    async def _record_all(self, new: Sequence[NewOrder]) -> list[Order | NotLeaseHolder]:
        parameters = statements.with_lease(statements.NEW_ORDERS).parameters(
            [build_new_order_row(each) for each in new]
        )
        ids = [each.order.intent_id for each in new]
        async with autocommit(self._engine) as connection:
            inserted = await fetch_rows(connection, statements.RECORD_ORDERS, **parameters)
            fresh = {row.intent_id for row in inserted}
            known = [intent_id for intent_id in ids if intent_id not in fresh]
            rows = (
                await fetch_rows(connection, statements.LOAD_ORDERS, intent_ids=known)
                if known
                else ()
            )
        existing = {row.intent_id: parse_order(row) for row in rows}
        for each in new:
            if each.order.intent_id in fresh:
                _measure_stages(each.order, each.approved)
        return [
            each.order if intent_id in fresh else existing.get(intent_id, _refusal(each.lease))
            for each, intent_id in zip(new, ids, strict=True)
        ]

    async def _load_all(self, ids: Sequence[str]) -> list[Order | None]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_ORDERS, intent_ids=list(ids))
        orders = {row.intent_id: parse_order(row) for row in rows}
        return [orders.get(intent_id) for intent_id in ids]

    async def _save_all(self, updates: Sequence[OrderUpdate]) -> list[NotLeaseHolder | None]:
        parameters = statements.with_lease(statements.ORDER_UPDATES).parameters(
            [build_order_update_row(update) for update in updates]
        )
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.SAVE_ORDERS, **parameters)
        for row in rows:
            if row.moved:
                metrics.copy_state_reached(OrderState(row.state))
        saved = {row.intent_id for row in rows}
        return [
            None if update.order.intent_id in saved else _refusal(update.lease)
            for update in updates
        ]

    async def _record_all_trades(
        self, updates: Sequence[TradeUpdate]
    ) -> list[tuple[TradeReported, ...] | NotLeaseHolder]:
        ids = [update.trade.intent_id for update in updates]
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_TRADES, intent_ids=ids)
            known = {(row.intent_id, row.trade_id): parse_trade(row) for row in rows}
            changed = [
                update
                for update in updates
                if is_update(
                    known.get((update.trade.intent_id, update.trade.trade_id)), update.trade
                )
            ]
            parameters = statements.with_lease(statements.TRADES).parameters(
                [build_trade_row(update) for update in changed]
            )
            written = (
                await fetch_rows(connection, statements.RECORD_TRADES, **parameters)
                if changed
                else ()
            )
        recorded = {(row.intent_id, row.trade_id): parse_trade(row) for row in written}
        refused = {update.trade.intent_id for update in changed} - {
            intent_id for intent_id, _ in recorded
        }
        trades = sorted(
            (known | recorded).values(), key=lambda trade: (trade.matched_at, trade.trade_id)
        )
        return [
            _refusal(update.lease) if update.trade.intent_id in refused else of_intent
            for update, of_intent in zip(updates, _by_intent(trades, ids), strict=True)
        ]

    async def _load_all_trades(self, ids: Sequence[str]) -> list[tuple[TradeReported, ...]]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_TRADES, intent_ids=list(ids))
        return _by_intent([parse_trade(row) for row in rows], ids)

    async def _record_all_settlements(
        self, updates: Sequence[SettlementUpdate]
    ) -> list[NotLeaseHolder | None]:
        leases = statements.LEASES.parameters([build_lease_row(update.lease) for update in updates])
        async with transaction(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOCK_LEASES, **leases)
            held = {(row.partition, row.token) for row in rows}
            fenced = [
                update for update in updates if (update.lease.partition, update.lease.token) in held
            ]
            await connection.execute(
                statements.RECORD_SETTLEMENTS, build_settlement_parameters(fenced)
            )
        return [
            None if (update.lease.partition, update.lease.token) in held else _refusal(update.lease)
            for update in updates
        ]


def _refusal(lease: Lease) -> NotLeaseHolder:
    return NotLeaseHolder(
        f"another instance holds the lease of partition {lease.partition}: nothing was written"
    )


def _result_or_raise(result: Result | NotLeaseHolder) -> Result:
    """Raises: NotLeaseHolder."""
    if isinstance(result, NotLeaseHolder):
        raise result
    return result


def _by_intent(
    trades: Sequence[TradeReported], ids: Sequence[str]
) -> list[tuple[TradeReported, ...]]:
    by_intent: dict[str, list[TradeReported]] = {intent_id: [] for intent_id in ids}
    for trade in trades:
        by_intent[trade.intent_id].append(trade)
    return [tuple(by_intent[intent_id]) for intent_id in ids]


def _measure_stages(order: Order, approved: IntentApproved) -> None:
    """How long the copy took to each stage, counted from when the leader's fill was seen."""
    intent = approved.intent
    reached = {
        metrics.Stage.INTENDED: intent.intended_at,
        metrics.Stage.APPROVED: approved.occurred_at,
        metrics.Stage.SIGNED: order.signed_at,
    }
    for stage, at in reached.items():
        metrics.stage_reached(stage, (at - intent.seen_at).total_seconds())
