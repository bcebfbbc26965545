"""Translates between executor's domain values and the rows of its tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy.engine import Row

from services.executor.adapters.statements import SETTLED_FILLS, SETTLEMENTS
from services.executor.decisions import Order, VenueReply
from shared.db.leases import Lease
from shared.domain.money import Side
from shared.messages.intents import IntentApproved
from shared.messages.orders import OrderState, TradeReported, TradeStatus
from shared.messages.transactions import TransactionResolved


class NewOrder(NamedTuple):
    """An order that is to be recorded, and the lease that it is written under."""

    order: Order
    approved: IntentApproved
    traceparent: str | None
    lease: Lease


class OrderUpdate(NamedTuple):
    """What became of an order, and when."""

    order: Order
    at: datetime
    lease: Lease


class TradeUpdate(NamedTuple):
    """What the venue reported of a trade, and when."""

    trade: TradeReported
    at: datetime
    lease: Lease


class SettlementUpdate(NamedTuple):
    """What the chain says of a transaction, and when that became known."""

    result: TransactionResolved
    at: datetime
    lease: Lease


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


def parse_trade(row: Row[Any]) -> TradeReported:
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


def build_new_order_row(new: NewOrder) -> Mapping[str, Any]:
    order, approved, intent = new.order, new.approved, new.approved.intent
    return build_lease_row(new.lease) | {
        "intent_id": order.intent_id,
        "proxy": order.proxy,
        "order_hash": order.order_hash,
        "body": order.body,
        "side": order.side.value,
        "token_id": order.token_id,
        "leader": order.leader,
        "leader_price": intent.leader_price,
        "limit_price": approved.limit_price,
        "fee_rate": order.fee_rate,
        "state": order.state.value,
        "reason": order.reason,
        "traceparent": new.traceparent,
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
        "state": order.state.value,
        "reason": order.reason,
        "shares": order.shares,
        "usdc": order.usdc,
        "fee_usdc": order.fee_usdc,
        "last_reply": order.last_reply.value,
        "unverified_since": order.unverified_since,
        "empty_lookups": order.empty_lookups,
        "alerted_at": order.alerted_at,
        "posted_at": order.posted_at,
        "saved_at": update.at,
    }


def build_trade_row(update: TradeUpdate) -> Mapping[str, Any]:
    trade = update.trade
    return build_lease_row(update.lease) | {
        "intent_id": trade.intent_id,
        "trade_id": trade.trade_id,
        "order_hash": trade.order_hash,
        "proxy": trade.proxy,
        "token_id": trade.token_id,
        "side": trade.side.value,
        "status": trade.status.value,
        "shares": trade.shares,
        "usdc": trade.usdc,
        "fee_usdc": trade.fee_usdc,
        "transaction_hash": trade.transaction_hash,
        "matched_at": trade.matched_at,
        "updated_at": update.at,
    }


def build_lease_row(lease: Lease) -> dict[str, Any]:
    return {"partition": lease.partition, "token": lease.token}


def build_settlement_parameters(updates: Sequence[SettlementUpdate]) -> Mapping[str, Any]:
    """The arrays of ``RECORD_SETTLEMENTS``. Of an intent's transaction the last report counts."""
    newest = {
        (update.result.intent_id, update.result.transaction_hash): update for update in updates
    }
    settlements = [
        {
            "intent_id": intent_id,
            "transaction_hash": transaction_hash,
            "chain_state": update.result.state.value,
            "updated_at": update.at,
        }
        for (intent_id, transaction_hash), update in newest.items()
    ]
    fills = [
        {
            "settled_for": intent_id,
            "settled_in": transaction_hash,
            "order_hash": fill.order_hash,
            "shares": fill.shares,
            "usdc": fill.usdc,
            "fee_usdc": fill.fee_usdc,
        }
        for (intent_id, transaction_hash), update in newest.items()
        for fill in update.result.fills
    ]
    return SETTLEMENTS.parameters(settlements) | SETTLED_FILLS.parameters(fills)
