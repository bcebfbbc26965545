"""Whether an approved intent may still be signed. Pure.

What was approved rests on the follow's terms of that moment. They may have changed since: what the
newest terms would not approve in this form is withdrawn.
"""

from dataclasses import dataclass
from datetime import datetime

from services.executor.decisions.orders import Order
from shared.domain.follows import Follow, Mode, is_closed_out, may_trade
from shared.domain.history import may_be_pruned
from shared.domain.money import Side, as_decimal
from shared.domain.prices import limit_price
from shared.domain.terms import ExitMode, Filters
from shared.messages.intents import CopyCause, IntentApproved, reference_price
from shared.messages.orders import OrderState


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order that is to be recorded."""

    order: Order
    approved: IntentApproved
    traceparent: str | None
    """The trace that it belongs to; None: it has none."""

    @property
    def proxy(self) -> str:
        return self.order.proxy


def withdrawal_reason(
    approved: IntentApproved, *, mode: Mode, follow: Follow | None, now: datetime
) -> str:
    """Why the intent must be withdrawn instead of being signed now; empty: it may be signed.
    ``follow``: by its newest terms; None: it ended.
    """
    if not may_trade(mode, approved.intent.side):
        return f"the mode was {mode} before the order was signed"
    if approved.intent.cause is CopyCause.ENDED and not (follow and is_closed_out(follow, mode)):
        return "the follow was not closed out any more before the order was signed"
    if follow is None:
        return "the follow ended before the order was signed"
    if may_be_pruned(approved.intent.filled_at, now=now):
        return "the intent is so old that an order of it may have been pruned"
    if now >= approved.expires_at:
        return "the intent expired before the order was signed"
    return (
        _reason_by_entries(approved, follow)
        or _reason_by_size(approved, follow)
        or _reason_by_price(approved, follow)
    )


def build_withdrawn_order(approved: IntentApproved, reason: str, *, now: datetime) -> Order:
    """An order that is never signed or sent, recorded so that its intent is not signed later."""
    return Order(
        intent_id=approved.intent_id,
        proxy=approved.intent.proxy,
        leader=approved.intent.leader,
        order_hash=f"withdrawn:{approved.intent_id}",
        body="",
        side=approved.intent.side,
        token_id=approved.intent.token_id,
        state=OrderState.WITHDRAWN,
        fee_rate=approved.quote.fee_rate,
        expires_at=approved.expires_at,
        signed_at=now,
        reason=reason,
    )


def _reason_by_entries(approved: IntentApproved, follow: Follow) -> str:
    """An exit has none: what was bought is sold."""
    intent = approved.intent
    if intent.side is Side.SELL:
        return ""
    if not follow.copies_entry(is_of_trade=intent.is_of_trade):
        return "the follow copied no such entries any more before the order was signed"
    if intent.is_of_complement is not follow.counter:
        return "the follow copied the other outcome of the market before the order was signed"
    return _reason_by_filters(approved, follow.filters)


def _reason_by_filters(approved: IntentApproved, filters: Filters) -> str:
    """By what the order itself says; the market's details are those that it was approved by."""
    worth = approved.intent.leader_usdc
    if approved.limit_price > filters.max_price:
        return (
            f"the follow bought at {filters.max_price} at most before the order with a limit price "
            f"of {approved.limit_price} was signed"
        )
    if worth is not None and worth < filters.min_leader_usdc:
        return (
            f"the follow copied trades of at least {as_decimal(filters.min_leader_usdc):.2f} USDC "
            f"before the order was signed; this one is worth {as_decimal(worth):.2f} USDC"
        )
    return ""


def _reason_by_size(approved: IntentApproved, follow: Follow) -> str:
    if approved.intent.side is Side.SELL:
        if follow.exits is ExitMode.NONE and approved.intent.cause is not CopyCause.ENDED:
            return "the follow copied no exits any more before the order was signed"
        return ""
    limits = {"maximum": follow.max_usdc, "daily cap": follow.daily_cap_usdc}
    for name, limit in limits.items():
        if approved.usdc > limit:
            return (
                f"the follow's {name} was {as_decimal(limit):.2f} USDC before the order of "
                f"{as_decimal(approved.usdc):.2f} USDC was signed"
            )
    return ""


def _reason_by_price(approved: IntentApproved, follow: Follow) -> str:
    side, reference = approved.intent.side, reference_price(approved.intent, approved.quote)
    worst = limit_price(
        side,
        reference=reference,
        slippage_bps=follow.max_slippage_bps,
        tick=approved.quote.tick_size,
    )
    if worst is not None:
        is_worse = (
            approved.limit_price > worst if side is Side.BUY else approved.limit_price < worst
        )
        if not is_worse:
            return ""
    return (
        f"the follow allowed {follow.max_slippage_bps} bps of slippage before the order was signed "
        f"with a limit price of {approved.limit_price}, and the price to compare with is "
        f"{reference}"
    )
