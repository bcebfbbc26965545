"""The messages that the executor publishes about its orders. Pure."""

from datetime import datetime

from services.executor.decisions.orders import Order, obstacle_may_pass
from shared.messages.orders import (
    FINAL_STATES,
    OrderReported,
    OrderState,
    TradeReported,
    TradeStatus,
)
from shared.messages.transactions import ConfirmationRequested, Purpose


def is_reported(before: Order, after: Order) -> bool:
    """Whether the order's state is published. A final one every time: the process may have died
    before it was first published. Of the others only that the outcome is unknown: what comes
    between is nobody's concern until it has ended.
    """
    return after.state in FINAL_STATES or (
        after.state is OrderState.UNKNOWN and before.state is not OrderState.UNKNOWN
    )


def is_in_block(trade: TradeReported) -> bool:
    """Whether the trade's transaction is in a block: before that, another may replace it."""
    return bool(trade.transaction_hash) and trade.status in (
        TradeStatus.MINED,
        TradeStatus.CONFIRMED,
    )


def build_order_report(order: Order, *, now: datetime) -> OrderReported:
    return OrderReported(
        message_id=f"{order.intent_id}:{order.state}",
        occurred_at=now,
        proxy=order.proxy,
        intent_id=order.intent_id,
        order_hash=order.order_hash,
        state=order.state,
        side=order.side,
        token_id=order.token_id,
        shares=order.shares,
        usdc=order.usdc,
        fee_usdc=order.fee_usdc,
        reason=order.reason,
        obstacle_may_pass=obstacle_may_pass(order),
    )


def build_confirmation_request(trade: TradeReported, *, now: datetime) -> ConfirmationRequested:
    return ConfirmationRequested(
        message_id=f"{trade.intent_id}:{trade.transaction_hash}",
        occurred_at=now,
        proxy=trade.proxy,
        request_id=f"{trade.intent_id}:{trade.transaction_hash}",
        transaction_hash=trade.transaction_hash,
        purpose=Purpose.SETTLEMENT,
        intent_id=trade.intent_id,
    )
