"""Given what has happened to an order, what is the next step? Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared.domain.follows import Mode, may_trade
from shared.domain.money import Side
from shared.messages.intents import IntentApproved
from shared.messages.orders import FINAL_STATES, OrderState, TradeReported, TradeStatus
from shared.polymarket.replies import Accepted, Duplicated, Killed, Lost, NotNow, Rejected, Reply

NEVER_ARRIVED_AFTER = timedelta(seconds=60)
"""An order that the venue has no trade of, this long after its bytes could last have left: the venue's own views lag by seconds."""

FINAL_STATUSES = frozenset({TradeStatus.CONFIRMED, TradeStatus.FAILED})

DUST = 10_000
"""A hundredth of a share: the venue's trades round their sizes, its answer to the order does not."""

RANK_BY_STATUS = {
    TradeStatus.MATCHED: 0,
    TradeStatus.RETRYING: 1,
    TradeStatus.MINED: 2,
    TradeStatus.CONFIRMED: 3,
    TradeStatus.FAILED: 3,
}
"""A trade's status only moves up: the feeds that tell of it are not in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it stands in our books. Amounts in micro-USDC and micro-shares."""

    intent_id: str
    proxy: str
    leader: str
    order_hash: str
    body: str
    """The exact bytes to send, now and ever after."""
    side: Side
    token_id: str
    state: OrderState
    fee_rate: Decimal
    """What the fee of a trade is estimated by, until the chain tells it."""
    expires_at: datetime
    signed_at: datetime
    posted_at: datetime | None = None
    """When the bytes may first have left."""
    shares: int = 0
    usdc: int = 0
    fee_usdc: int = 0
    reason: str = ""
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send the kept bytes: for the first time or, which is harmless, again. The venue knows the same bytes by their hash."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the venue which trades it has of the order."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to do: it is final, or matched, and its trades will tell."""


Step = Send | Ask | Done


def may_be_signed(approved: IntentApproved, *, mode: Mode, now: datetime) -> str:
    """Why the intent must not become an order now; empty where it may."""
    if not may_trade(mode, approved.intent.side):
        return f"{mode} when it was to be signed"
    if now >= approved.expires_at:
        return "its time was over when it was to be signed"
    return ""


def next_step(order: Order, *, now: datetime) -> Step:
    """Send what has no answer while it is worth it; ask where an answer was lost or the time is over."""
    if order.state in FINAL_STATES or order.state is OrderState.MATCHED:
        return Done()
    if order.state is OrderState.SIGNED and now < order.expires_at:
        return Send()
    return Ask()


def after_reply(order: Order, reply: Reply, *, is_first: bool) -> Order:
    """The order as the venue's answer leaves it. ``NotNow`` leaves it as it was: nothing happened.

    A no to bytes that may have been sent before proves nothing of the first time: that one may have spent what is missing now.
    """
    match reply:
        case Accepted():
            return _accepted(order, reply)
        case Killed() if is_first:
            return replace(order, state=OrderState.KILLED, reason=reply.text)
        case Rejected() if is_first:
            return replace(order, state=OrderState.REJECTED, reason=reply.text)
        case Killed() | Rejected() | Duplicated() | Lost():
            return replace(order, state=OrderState.UNKNOWN, reason=reply.text)
        case NotNow():
            return order


def _accepted(order: Order, reply: Accepted) -> Order:
    """A FOK or FAK that is accepted without a match yet (``delayed``) is not known to be filled, nor to be killed."""
    if not reply.trade_ids and reply.taking == 0:
        return replace(order, state=OrderState.UNKNOWN, reason=f"accepted as {reply.status}, nothing matched yet")
    buys = order.side is Side.BUY
    return replace(
        order,
        state=OrderState.MATCHED,
        shares=reply.taking if buys else reply.making,
        usdc=reply.making if buys else reply.taking,
        reason="",
    )


def after_asking(order: Order, trades: Iterable[TradeReported], *, now: datetime) -> Order:
    """The order as the venue's trades leave it: where there are none, it stays unknown until it can no longer have arrived."""
    found = tuple(trades)
    if found:
        return with_trades(replace(order, state=OrderState.MATCHED), found)
    if now < order.expires_at + NEVER_ARRIVED_AFTER:
        return replace(order, state=OrderState.UNKNOWN)
    return replace(order, state=OrderState.KILLED, reason=f"the venue has no trade of it {NEVER_ARRIVED_AFTER} after its end")


def with_trades(order: Order, trades: Iterable[TradeReported]) -> Order:
    """The order by its trades: failed ones do not count; final once all of the match is known and every trade of it is final."""
    known = tuple(trades)
    if sum(trade.shares for trade in known) + DUST < order.shares:
        return replace(order, state=OrderState.MATCHED)
    counted = [trade for trade in known if trade.status is not TradeStatus.FAILED]
    summed = replace(
        order,
        shares=sum(trade.shares for trade in counted),
        usdc=sum(trade.usdc for trade in counted),
        fee_usdc=sum(trade.fee_usdc for trade in counted),
    )
    if any(trade.status not in FINAL_STATUSES for trade in known):
        return replace(summed, state=OrderState.MATCHED)
    return replace(summed, state=OrderState.CONFIRMED if counted else OrderState.FAILED)


def is_news(known: TradeStatus | None, told: TradeStatus) -> bool:
    """Whether a report moves a trade on; a final status stands."""
    return known is None or RANK_BY_STATUS[told] > RANK_BY_STATUS[known]
