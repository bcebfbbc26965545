"""Orders of the executor for tests: valid, and different only in what a test names."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from services.executor.decisions import Order, Trade, apply_reports
from services.executor.handler import Orders
from shared.domain.money import Side
from shared.messages.orders import OrderState, TradeReported
from tests.builders import LEADER, NOON, ORDER_HASH, PROXY, TOKEN, an_intent, approved


def an_order(**overrides: Any) -> Order:
    """Signed and not sent yet."""
    base = Order(
        intent_id=approved().intent_id,
        proxy=PROXY,
        leader=LEADER,
        order_hash=ORDER_HASH,
        body='{"signed":"bytes"}',
        side=Side.BUY,
        token_id=TOKEN,
        state=OrderState.SIGNED,
        fee_rate=approved().quote.fee_rate,
        expires_at=approved().expires_at,
        signed_at=NOON,
    )
    return replace(base, **overrides)


def numbered_order(number: int, **overrides: Any) -> Order:
    """One of many: intent id and order hash are derived from the number."""
    return an_order(intent_id=f"{number:032x}", order_hash=f"0x{number:064x}", **overrides)


MISTAKEN_OPEN_ORDERS = """
select intent_id, state
from executor.open_orders full join (
    select intent_id, state from executor.order_states
    where state in ('signed', 'unknown', 'matched')
) as not_final using (intent_id)
where not_final.intent_id is null or open_orders.intent_id is null
"""
"""Orders that are listed as open and are final, or are not final and not listed."""


async def record_trade(
    orders: Orders, report: TradeReported, *, now: datetime = NOON
) -> tuple[Trade, ...]:
    """Record a trade as the venue reported it, and its order where there is none, as matched;
    return all trades of the order.
    """
    order = await orders.load(report.intent_id)
    if order is None:
        order = an_order(
            intent_id=report.intent_id,
            order_hash=report.order_hash,
            proxy=report.proxy,
            side=report.side,
            token_id=report.token_id,
            state=OrderState.MATCHED,
        )
        await orders.record(order, approved(an_intent(intent_id=order.intent_id)))
    known = await orders.load_trades(report.intent_id)
    changed = apply_reports(known, [report], matched_shares=order.shares)
    if changed:
        await orders.settle(order, changed, now=now)
    return await orders.load_trades(report.intent_id)
