"""Translates between executor's domain values and the rows of its tables."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.executor.adapters.statements import (
    NEW_TRADES,
    ORDER_UPDATES,
    SETTLEMENTS,
    with_lease,
)
from services.executor.decisions import NewOrder, Order, Trade, VenueReply, merge_trades
from shared.db.leases import Lease
from shared.db.rows import Row
from shared.domain.money import Side
from shared.messages.orders import OrderState, TradeStatus
from shared.messages.transactions import SettledFill, TransactionResolved


class OrderInsert(NamedTuple):
    """An order that is to be recorded, and the lease that it is written under."""

    new: NewOrder
    lease: Lease


class OrderUpdate(NamedTuple):
    """What became of an order and its trades, and when."""

    order: Order
    at: datetime
    lease: Lease
    trades: tuple[Trade, ...] = ()
    """Those that were changed or added."""
    is_late: bool = False
    """It was known long ago, and counts only where nothing was saved since."""
    answered_at: datetime | None = None
    """When the venue's reply came; None: now."""

    def then(self, later: "OrderUpdate") -> "OrderUpdate":
        """Both, of the same order, in one."""
        if later.is_late:
            return self
        return later._replace(trades=merge_trades(self.trades, later.trades))


class SettlementUpdate(NamedTuple):
    """What the chain says of a transaction, and when that became known."""

    result: TransactionResolved
    at: datetime
    lease: Lease


def parse_order(row: Row) -> Order:
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


def parse_trade(row: Row) -> Trade:
    return Trade(
        trade_id=row.trade_id,
        status=TradeStatus(row.status),
        shares=row.shares,
        usdc=row.usdc,
        fee_usdc=row.fee_usdc,
        matched_at=row.matched_at,
        transaction_hash=row.transaction_hash,
        chain_state=row.chain_state,
    )


def build_new_order_row(insert: OrderInsert) -> Mapping[str, Any]:
    order, approved = insert.new.order, insert.new.approved
    intent = approved.intent
    return build_lease_row(insert.lease) | {
        "intent_id": order.intent_id,
        "proxy": order.proxy,
        "order_hash": order.order_hash,
        "body": order.body,
        "side": order.side,
        "token_id": order.token_id,
        "leader": order.leader,
        "leader_price": intent.leader_price,
        "limit_price": approved.limit_price,
        "fee_rate": order.fee_rate,
        "state": order.state,
        "reason": order.reason,
        "traceparent": insert.new.traceparent,
        "expires_at": order.expires_at,
        "title": intent.title,
        "outcome": intent.outcome,
        "seen_at": intent.seen_at,
        "intended_at": intent.intended_at,
        "quoted_at": approved.quote.fetched_at,
        "approved_at": approved.occurred_at,
        "signed_at": order.signed_at,
        "requested_shares": approved.shares,
    }


def build_order_update_row(update: OrderUpdate) -> Mapping[str, Any]:
    order = update.order
    return build_lease_row(update.lease) | {
        "intent_id": order.intent_id,
        "proxy": order.proxy,
        "state": order.state,
        "reason": order.reason,
        "shares": order.shares,
        "usdc": order.usdc,
        "fee_usdc": order.fee_usdc,
        "last_reply": order.last_reply,
        "unverified_since": order.unverified_since,
        "empty_lookups": order.empty_lookups,
        "alerted_at": order.alerted_at,
        "posted_at": order.posted_at,
        "saved_at": update.at,
        "answered_at": update.answered_at,
    }


def build_trade_rows(update: OrderUpdate) -> Iterator[Mapping[str, Any]]:
    order = update.order
    for trade in update.trades:
        yield {
            "trade_intent_id": order.intent_id,
            "trade_trade_id": trade.trade_id,
            "trade_order_hash": order.order_hash,
            "trade_proxy": order.proxy,
            "trade_token_id": order.token_id,
            "trade_side": order.side,
            "trade_status": trade.status,
            "trade_shares": trade.shares,
            "trade_usdc": trade.usdc,
            "trade_fee_usdc": trade.fee_usdc,
            "trade_transaction_hash": trade.transaction_hash,
            "trade_chain_state": trade.chain_state,
            "trade_matched_at": trade.matched_at,
            "trade_updated_at": update.at,
        }


def build_save_parameters(updates: Sequence[OrderUpdate]) -> dict[str, Any]:
    """The arrays of ``SAVE_ORDERS``; at most one update of each order, all late or none."""
    (are_late,) = {update.is_late for update in updates}
    orders = [build_order_update_row(update) for update in updates]
    trades = [row for update in updates for row in build_trade_rows(update)]
    return {
        **with_lease(ORDER_UPDATES).parameters(orders),
        **NEW_TRADES.parameters(trades),
        "are_late": are_late,
    }


def build_lease_row(lease: Lease) -> dict[str, Any]:
    return {"partition": lease.partition, "token": lease.token}


def build_settlement_parameters(updates: Sequence[SettlementUpdate]) -> Mapping[str, Any]:
    """The arrays of ``RECORD_SETTLEMENTS``. Of an intent's transaction the last report counts."""
    reports: dict[str, dict[str, Any]] = defaultdict(dict)
    for update in updates:
        result = update.result
        reports[result.intent_id][result.transaction_hash] = {
            "state": result.state.value,
            "at": update.at.isoformat(),
            "amounts": sum_by_order(result.fills),
        }
    return SETTLEMENTS.parameters(
        [
            {"intent_id": intent_id, "reports": json.dumps(of_intent)}
            for intent_id, of_intent in reports.items()
        ]
    )


def sum_by_order(fills: Iterable[SettledFill]) -> Mapping[str, Mapping[str, int]]:
    """What each order gave and received, by its hash."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for fill in fills:
        sums[fill.order_hash].update(
            {"shares": fill.shares, "usdc": fill.usdc, "fee_usdc": fill.fee_usdc}
        )
    return sums
