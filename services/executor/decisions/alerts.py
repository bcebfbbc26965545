"""Decides when an operator must know of an order. Pure."""

from datetime import datetime

from services.executor.decisions.orders import (
    MIN_EMPTY_LOOKUPS,
    SETTLEMENT_DEADLINE,
    Order,
    OrderLookup,
    is_past_deadline,
)
from services.executor.decisions.settlement import Settlement
from shared.messages.orders import FINAL_STATES, OrderState


def needs_alert(order: Order, lookup: OrderLookup | None, *, now: datetime) -> bool:
    """Whether the operator must be alerted, once, that an order was not resolved in time.
    ``lookup`` is None where the venue did not answer.
    """
    if order.alerted_at is not None or order.state in FINAL_STATES:
        return False
    if order.state is OrderState.MATCHED:
        return is_settlement_overdue(order, now=now)
    return is_past_deadline(order, now=now) and (
        lookup is None or lookup.is_open or order.empty_lookups >= MIN_EMPTY_LOOKUPS
    )


def is_settlement_overdue(order: Order, *, now: datetime) -> bool:
    """Whether a matched order has trades that are not final after ``SETTLEMENT_DEADLINE``."""
    return order.state is OrderState.MATCHED and now >= order.signed_at + SETTLEMENT_DEADLINE


def unresolved_reason(order: Order, lookup: OrderLookup | None) -> str:
    """Why an order was not resolved in time. ``lookup`` is None where the venue did not answer."""
    if lookup is None:
        return "the venue does not answer"
    if order.state is OrderState.MATCHED:
        return "its trades are not settled"
    return "the venue still holds it" if lookup.is_open else "no trade of it is found"


def describe_unresolved(order: Order, why: str) -> str:
    """All that is known of an order that was not resolved in time."""
    return (
        f"an order was not resolved in time and needs an operator, {why}: intent "
        f"{order.intent_id}, follower {order.proxy}, order {order.order_hash}, {order.side} of "
        f"token {order.token_id}, state {order.state}, last reply {order.last_reply or 'none'} "
        f"{order.reason!r}, first posted at {order.posted_at}, expires at {order.expires_at}, "
        f"{order.empty_lookups} empty lookups"
    )


def describe_contradiction(settlement: Settlement) -> str:
    """That the chain has fills of an order which had ended as something else."""
    before, after = settlement.before, settlement.after
    return (
        f"the chain has fills of order {before.order_hash} of intent {before.intent_id}, follower "
        f"{before.proxy}, which had ended as {before.state} with {before.shares} micro-shares: it "
        f"is {after.state} with {after.shares} now"
    )
