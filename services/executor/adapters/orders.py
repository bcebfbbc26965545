"""Executor's records of orders and trades, in PostgreSQL, and in memory while they are open."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters import statements
from services.executor.adapters.late_saves import LateSaves
from services.executor.adapters.open_orders import LeaseId, LeaseKeeper, OpenOrders
from services.executor.adapters.rows import (
    OrderInsert,
    OrderUpdate,
    SettlementUpdate,
    build_lease_row,
    build_new_order_row,
    build_save_parameters,
    build_settlement_parameters,
    parse_order,
    parse_trade,
)
from services.executor.decisions import NewOrder, Order, RecordedOrder, Settlement, Trade
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.group_commit import MAX_GROUP_SIZE, GroupCommit
from shared.db.leases import Lease, NotLeaseHolder
from shared.db.rows import Row
from shared.domain.errors import Transient
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState
from shared.messages.transactions import TransactionResolved
from shared.observe import metrics, tracing

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class PostgresOrders:
    """Reads and writes go out in groups: one statement for all proxies with orders under way, each
    row under the lease of its proxy. Open orders are read from memory.
    """

    def __init__(self, engine: AsyncEngine, leases: LeaseKeeper) -> None:
        self._engine, self._leases = engine, leases
        self._open = OpenOrders(leases)
        self._record = GroupCommit(self._record_all)
        self._load = GroupCommit(self._load_all)
        self._load_by_hash = GroupCommit(self._load_all_by_hash)
        self._save = GroupCommit(self._save_all)
        self._settle = GroupCommit(self._settle_all)
        self._load_trades = GroupCommit(self._load_all_trades)
        self._record_settlement = GroupCommit(self._record_all_settlements)
        self.late_saves = LateSaves(self._save_all)

    async def record(self, order: Order, approved: IntentApproved) -> Order:
        new = NewOrder(order=order, approved=approved, traceparent=tracing.inject())
        lease = self._leases.lease_for(order.proxy)
        return _result_or_raise(await self._record(OrderInsert(new, lease)))

    async def record_all(self, new: Sequence[NewOrder]) -> list[Order | None]:
        results = await self._record_all(
            [OrderInsert(each, self._leases.lease_for(each.order.proxy)) for each in new]
        )
        return [None if isinstance(each, NotLeaseHolder) else each for each in results]

    async def load(self, intent_id: str) -> Order | None:
        if (known := self._open.find(intent_id)) is not None:
            return known
        order = await self._load(intent_id)
        return None if order is None else self._keep(order)

    async def save(self, order: Order, *, now: datetime) -> None:
        lease = self._leases.lease_for(order.proxy)
        _result_or_raise(await self._save(OrderUpdate(order, now, lease)))

    async def save_later(self, order: Order, *, now: datetime) -> None:
        lease = self._leases.lease_for(order.proxy)
        if self._open.find(order.intent_id) is None:
            await self.save(order, now=now)
            return
        self._open.follow(order, lease)
        self.late_saves.add(OrderUpdate(order, now, lease, is_late=True))

    async def settle(self, order: Order, trades: Iterable[Trade], *, now: datetime) -> None:
        lease = self._leases.lease_for(order.proxy)
        _result_or_raise(await self._settle(OrderUpdate(order, now, lease, tuple(trades))))

    async def settle_all(self, settlements: Sequence[Settlement], *, now: datetime) -> list[bool]:
        """In groups, one after another, each a statement."""
        updates = [
            OrderUpdate(each.after, now, self._leases.lease_for(each.after.proxy), each.trades)
            for each in settlements
        ]
        results = [
            result
            for first in range(0, len(updates), MAX_GROUP_SIZE)
            for result in await self._settle_all(updates[first : first + MAX_GROUP_SIZE])
        ]
        return [result is None for result in results]

    async def load_trades(self, intent_id: str) -> tuple[Trade, ...]:
        known = self._open.find_trades(intent_id)
        if known is not None:
            return known
        trades = await self._load_trades(intent_id)
        self._open.follow_trades(intent_id, trades)
        return trades

    def find_open(self, order_hash: str) -> RecordedOrder | None:
        return self._open.find_by_hash(order_hash)

    async def load_by_hash(self, order_hashes: Collection[str]) -> list[RecordedOrder]:
        known = {each: self._open.find_by_hash(each) for each in order_hashes}
        missing = [order_hash for order_hash, recorded in known.items() if recorded is None]
        found = [recorded for recorded in known.values() if recorded is not None]
        return found + (await self._read_by_hash(missing) if missing else [])

    async def record_settlement(self, result: TransactionResolved, *, now: datetime) -> None:
        lease = self._leases.lease_for(result.proxy)
        _result_or_raise(await self._record_settlement(SettlementUpdate(result, now, lease)))
        self._open.forget_trades(result.intent_id, lease)

    async def load_leases(self, lease_ids: Collection[LeaseId]) -> None:
        """Have the open orders of these leases in memory from now on. Raises: Transient."""
        await self.late_saves.flush()  # what is read would not show it
        self._open.begin_reading(lease_ids)
        try:
            orders = await self.load_open_orders()
            trades = await self._load_all_trades([order.intent_id for order in orders])
        except BaseException:
            self._open.give_up_reading(lease_ids)
            raise
        self._open.end_reading(
            lease_ids,
            [
                RecordedOrder(order=order, trades=of_order)
                for order, of_order in zip(orders, trades, strict=True)
            ],
        )

    def list_open(self) -> list[Order]:
        """The open orders of the leases that are held and loaded, as they became known."""
        return self._open.list_open()

    async def load_open_orders(self) -> list[Order]:
        """All orders that are not final, of all instances. Raises: Transient."""
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_OPEN_ORDERS)
        return [parse_order(row) for row in rows]

    async def _read_by_hash(self, order_hashes: Sequence[str]) -> list[RecordedOrder]:
        orders = [
            self._open.find(order.intent_id) or self._keep(order)
            for order in await self._load_by_hash(order_hashes)
        ]
        return [
            RecordedOrder(order=order, trades=await self.load_trades(order.intent_id))
            for order in orders
        ]

    async def _load_all_by_hash(self, groups: Sequence[Sequence[str]]) -> list[list[Order]]:
        """The orders with these hashes that are recorded, for each group of hashes."""
        order_hashes = sorted({order_hash for group in groups for order_hash in group})
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(
                connection, statements.LOAD_ORDERS_BY_HASH, order_hashes=order_hashes
            )
        found: dict[str, list[Order]] = {}
        for order in map(parse_order, rows):
            found.setdefault(order.order_hash, []).append(order)
        return [[order for each in group for order in found.get(each, ())] for group in groups]

    def _keep(self, order: Order) -> Order:
        """The order that was read. It is known from now on, if its lease is held."""
        if (lease := self._leases.kept_lease_for(order.proxy)) is not None:
            self._open.add(order, lease, trades=None)
        return order

    async def _record_all(self, inserts: Sequence[OrderInsert]) -> list[Order | NotLeaseHolder]:
        parameters = statements.with_lease(statements.NEW_ORDERS).parameters(
            [build_new_order_row(each) for each in inserts]
        )
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.RECORD_ORDERS, **parameters)
        fresh = {row.intent_id for row in rows}
        results: dict[str, Order | NotLeaseHolder] = {}
        for new, lease in inserts:
            if new.order.intent_id in fresh:
                traced = replace(new.order, traceparent=new.traceparent)
                self._open.add(traced, lease, trades=())
                _measure_stages(new.order, new.approved)
                results[new.order.intent_id] = new.order
        if known := [each for each in inserts if each.new.order.intent_id not in fresh]:
            results |= await self._find_existing(known)
        return [results[each.new.order.intent_id] for each in inserts]

    async def _find_existing(
        self, inserts: Sequence[OrderInsert]
    ) -> dict[str, Order | NotLeaseHolder]:
        """The orders of these intents that were recorded before, by intent; a refusal where there
        is none: nothing was written because the lease was lost.
        """
        loaded = await self._load_all([each.new.order.intent_id for each in inserts])
        existing: dict[str, Order | NotLeaseHolder] = {}
        for (new, lease), order in zip(inserts, loaded, strict=True):
            intent_id = new.order.intent_id
            if (known := self._open.find(intent_id)) is not None:
                existing[intent_id] = known
            elif order is None:
                existing[intent_id] = _refusal(lease)
            else:
                self._open.add(order, lease, trades=None)
                existing[intent_id] = order
        return existing

    async def _load_all(self, ids: Sequence[str]) -> list[Order | None]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_ORDERS, intent_ids=list(ids))
        orders = {row.intent_id: parse_order(row) for row in rows}
        return [orders.get(intent_id) for intent_id in ids]

    async def _save_all(self, updates: Sequence[OrderUpdate]) -> list[NotLeaseHolder | None]:
        return await self._write_all(updates)

    async def _settle_all(self, updates: Sequence[OrderUpdate]) -> list[NotLeaseHolder | None]:
        return await self._write_all(updates)

    async def _write_all(self, updates: Sequence[OrderUpdate]) -> list[NotLeaseHolder | None]:
        by_intent = _merge_by_intent(updates)
        try:
            rows = await self._write(list(by_intent.values()))
        except Transient:
            self._forget_unsure(by_intent.values())
            raise
        saved = {row.intent_id for row in rows}
        for row in rows:
            if row.moved:
                metrics.copy_state_reached(OrderState(row.state))
        for intent_id, update in by_intent.items():
            if update.is_late:  # memory knows it since it was to be saved
                if intent_id not in saved:
                    self._give_up_late(update)
            elif intent_id in saved:
                self._open.follow(update.order, update.lease, changed=update.trades)
                self.late_saves.drop(intent_id)
        return [
            None if update.order.intent_id in saved else _refusal(update.lease)
            for update in updates
        ]

    async def _write(self, updates: Sequence[OrderUpdate]) -> Sequence[Row]:
        """Raises: Transient."""
        answered = [
            update._replace(answered_at=late.at)
            if (late := self.late_saves.find(update.order.intent_id)) is not None
            else update
            for update in updates
        ]
        async with autocommit(self._engine) as connection:
            return await fetch_rows(
                connection, statements.SAVE_ORDERS, **build_save_parameters(answered)
            )

    def _forget_unsure(self, updates: Iterable[OrderUpdate]) -> None:
        """What failed may be committed: then memory has what was before. Not where an outcome
        waits: the database does not have it yet.
        """
        for update in updates:
            if self.late_saves.find(update.order.intent_id) is None:
                self._open.forget(update.order.intent_id, update.lease)

    def _give_up_late(self, update: OrderUpdate) -> None:
        """An outcome that cannot be saved any more: what the database has counts."""
        intent_id, lease = update.order.intent_id, update.lease
        is_superseded = self.late_saves.find(intent_id) is not update
        if is_superseded or not self._leases.keeps(lease.partition, lease.token):
            return
        logger.warning(
            "the outcome of order %s of intent %s was not saved: something was saved of it before",
            update.order.order_hash,
            intent_id,
        )
        self._open.forget(intent_id, lease)

    async def _load_all_trades(self, ids: Sequence[str]) -> list[tuple[Trade, ...]]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, statements.LOAD_TRADES, intent_ids=list(ids))
        by_intent: dict[str, list[Trade]] = {intent_id: [] for intent_id in ids}
        for row in rows:
            by_intent[row.intent_id].append(parse_trade(row))
        return [tuple(by_intent[intent_id]) for intent_id in ids]

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
            parameters = build_settlement_parameters(fenced)
            await fetch_rows(connection, statements.LOCK_TRADES, intent_id=parameters["intent_id"])
            await fetch_rows(connection, statements.RECORD_SETTLEMENTS, **parameters)
        return [
            None if (update.lease.partition, update.lease.token) in held else _refusal(update.lease)
            for update in updates
        ]


def _merge_by_intent(updates: Sequence[OrderUpdate]) -> dict[str, OrderUpdate]:
    by_intent: dict[str, OrderUpdate] = {}
    for update in updates:
        earlier = by_intent.get(update.order.intent_id)
        by_intent[update.order.intent_id] = earlier.then(update) if earlier else update
    return by_intent


def _refusal(lease: Lease) -> NotLeaseHolder:
    return NotLeaseHolder(
        f"another instance holds the lease of partition {lease.partition}: nothing was written"
    )


def _result_or_raise(result: Result | NotLeaseHolder) -> Result:
    """Raises: NotLeaseHolder."""
    if isinstance(result, NotLeaseHolder):
        raise result
    return result


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
