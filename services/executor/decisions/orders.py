"""Decides the next step of an order from what is known of it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from services.executor.decisions.trades import FINAL_STATUSES, Trade
from shared.domain.money import ROUNDING_TOLERANCE_SHARES, Side
from shared.messages.orders import FINAL_STATES, OrderState, TradeReported, TradeStatus
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Killed,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
    parse_reason,
)

OUTCOME_DEADLINE = timedelta(seconds=60)
"""Counted from when an order may last have been sent (``Order.expires_at``): by then its outcome is
known. The venue's own views lag by seconds."""

SETTLEMENT_DEADLINE = timedelta(minutes=30)
"""From signing until every trade is final: the venue's settlements take seconds to minutes, also
where they are retried."""

MIN_EMPTY_LOOKUPS = 2
"""So many lookups must find nothing before an order counts as not traded: a replica that lags may
have answered one of them."""


class VenueReply(StrEnum):
    """The venue's last usable reply to an order that has no outcome yet."""

    NO_REPLY = ""
    """No usable reply came: the order may have arrived."""
    RETRY_LATER = "retry_later"
    """Each time that it was sent, the venue did not take it."""
    ARRIVED = "arrived"
    """The venue has it; it may be held (``delayed``) and matched later."""
    KILLED = "killed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as we have recorded it. Amounts in micro-USDC and micro-shares."""

    intent_id: str
    proxy: str
    leader: str
    order_hash: str
    body: str
    """The exact bytes to send, never changed; empty where the intent was withdrawn."""
    side: Side
    token_id: str
    state: OrderState
    fee_rate: Decimal
    """The fee of a trade is estimated by this rate until the chain reports the exact fee."""
    expires_at: datetime
    """From then on it is not sent any more."""
    signed_at: datetime
    posted_at: datetime | None = None
    """When the bytes may first have been sent; None: never."""
    shares: int = 0
    usdc: int = 0
    fee_usdc: int = 0
    reason: str = ""
    traceparent: str | None = None
    last_reply: VenueReply = VenueReply.NO_REPLY
    unverified_since: datetime | None = None
    """Since when only the lag of the venue's views can hide a trade of it. None: its outcome is
    verified, or it may still be held or not have arrived."""
    empty_lookups: int = 0
    """Lookups without a result since it was last sent or became unverified."""
    alerted_at: datetime | None = None
    """When the operator was alerted that it was not resolved in time; None: he was not."""


def apply_save(known: Order, saved: Order) -> Order:
    """``known`` after ``saved`` was recorded: its bytes, its first post and its first alert are
    never changed.
    """
    return replace(
        known,
        state=saved.state,
        reason=saved.reason,
        shares=saved.shares,
        usdc=saved.usdc,
        fee_usdc=saved.fee_usdc,
        posted_at=known.posted_at or saved.posted_at,
        last_reply=saved.last_reply,
        unverified_since=saved.unverified_since,
        empty_lookups=saved.empty_lookups,
        alerted_at=known.alerted_at or saved.alerted_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueLookup:
    """What the venue has answered about an order."""

    reports: tuple[TradeReported, ...]
    is_open: bool = False
    """The venue still holds the order: it can still be matched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLookup:
    """What is known of an order after a lookup; neither trades nor held: an empty lookup."""

    trades: tuple[TradeReported | Trade, ...]
    """All known trades of the order, also from earlier lookups."""
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send the recorded bytes, for the first time or again. Again is harmless: the venue recognises
    the same bytes by their hash.
    """


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the venue for the order's trades and state."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to do: the order is final, or it is matched and reports of its trades follow."""


Step = Send | LookUp | Done


def next_step(order: Order, *, now: datetime) -> Step:
    """Send an order that was not answered yet, until it expires. Look up one that has expired, or
    whose reply was lost or cannot be relied on.
    """
    if order.state in FINAL_STATES or (
        order.state is OrderState.MATCHED and order.unverified_since is None
    ):
        return Done()
    if order.state is OrderState.SIGNED and now < order.expires_at:
        return Send()
    return LookUp()


def is_worth_sending_again(order: Order, *, now: datetime) -> bool:
    """Whether an order that the venue has nothing of is sent again after the lookup. The same bytes
    cannot make a second order.
    """
    return (
        order.state is OrderState.UNKNOWN
        and order.last_reply is VenueReply.NO_REPLY
        and now < order.expires_at
    )


def may_have_arrived(order: Order, *, is_first_post: bool) -> bool:
    """Whether the venue may have the order: its bytes were sent before, and not each time answered
    with that it takes none.
    """
    was_never_taken = is_first_post or order.last_reply is VenueReply.RETRY_LATER
    return not (order.state is OrderState.SIGNED and was_never_taken)


def apply_reply(order: Order, reply: Reply, *, is_first_post: bool, now: datetime) -> Order:
    """The order after the venue's reply to it.

    A refusal is final at once only where no other request with these bytes can have been accepted.
    Otherwise the venue's trades decide: an earlier request, or a copy that a gateway made of this
    one, may have spent what is missing now; and a killed order may have been filled in part.
    """
    match reply:
        case Accepted():
            return _apply_acceptance(order, reply, now=now)
        case Rejected() if is_first_post and reply.is_conclusive:
            return replace(order, state=OrderState.REJECTED, reason=reply.description)
        case Rejected() | Killed():
            return _apply_refusal(order, reply, now=now)
        case Duplicated() | ReplyLost():
            last = VenueReply.ARRIVED if isinstance(reply, Duplicated) else order.last_reply
            return replace(order, state=OrderState.UNKNOWN, last_reply=last, reason=reply.text)
        case RetryLater():
            if may_have_arrived(order, is_first_post=is_first_post):
                return order
            return replace(order, last_reply=VenueReply.RETRY_LATER, reason=reply.text)


def is_matched_at_once(sent: Order, after: Order) -> bool:
    """Whether the reply to a signed order said all that was matched of it: then only its fills
    follow, and nothing waits for its record.

    Not where the venue took none of an earlier post: what is recorded then says that the order
    never arrived, and must not be found so after a crash.
    """
    return (
        sent.state is OrderState.SIGNED
        and sent.last_reply is VenueReply.NO_REPLY
        and after.state is OrderState.MATCHED
        and after.unverified_since is None
    )


def _apply_acceptance(order: Order, reply: Accepted, *, now: datetime) -> Order:
    """An accepted FOK or FAK without a match (``delayed``) may still be filled or killed."""
    if not reply.trade_ids and reply.taking == 0:
        return replace(
            order,
            state=OrderState.UNKNOWN,
            last_reply=VenueReply.ARRIVED,
            reason=f"accepted as {reply.status}, nothing matched yet",
        )
    buys = order.side is Side.BUY
    return replace(
        order,
        state=OrderState.MATCHED,
        last_reply=VenueReply.ARRIVED,
        shares=reply.taking if buys else reply.making,
        usdc=reply.making if buys else reply.taking,
        unverified_since=now if reply.taking == 0 else None,
        reason="",
    )


def _apply_refusal(order: Order, reply: Rejected | Killed, *, now: datetime) -> Order:
    last_reply, reason = (
        (VenueReply.KILLED, reply.text)
        if isinstance(reply, Killed)
        else (VenueReply.REJECTED, reply.description)
    )
    return replace(
        order,
        state=OrderState.UNKNOWN,
        last_reply=last_reply,
        reason=reason,
        unverified_since=now,
        empty_lookups=0,
    )


def apply_lookup(
    order: Order, lookup: OrderLookup, *, now: datetime, verify_for: timedelta
) -> Order:
    """The order after a lookup. After an empty one it is final only once no view of the venue's can
    lag so far behind that it hides a trade.
    """
    if lookup.trades:
        return _apply_found_trades(order, lookup.trades, now=now, verify_for=verify_for)
    if order.state is OrderState.MATCHED:  # the venue reported the match: this view is older
        return order
    order = _expire(order, now=now) if order.state is OrderState.SIGNED else order
    if lookup.is_open:
        last = (
            VenueReply.ARRIVED
            if order.last_reply in (VenueReply.NO_REPLY, VenueReply.RETRY_LATER)
            else order.last_reply
        )
        return replace(order, last_reply=last, unverified_since=now, empty_lookups=0)
    order = replace(order, empty_lookups=order.empty_lookups + 1)
    return (
        _end_unfilled(order)
        if _is_verified_unfilled(order, now=now, verify_for=verify_for)
        else order
    )


def apply_matched_amounts(order: Order, reports: Iterable[TradeReported]) -> Order:
    """The order with the amounts of these trades of it, where they are more than is known of it to
    be matched. Failed ones do not count.
    """
    counted = [report for report in reports if report.status is not TradeStatus.FAILED]
    if sum(report.shares for report in counted) <= order.shares:
        return order
    return _sum_up(order, counted, state=order.state)


def _apply_found_trades(
    order: Order, trades: Iterable[TradeReported | Trade], *, now: datetime, verify_for: timedelta
) -> Order:
    """The order with the trades that a lookup has found: it was matched."""
    matched = replace(
        order,
        state=OrderState.MATCHED,
        unverified_since=_next_unverified_since(order, now=now, verify_for=verify_for),
    )
    return apply_trades(matched, trades)


def _next_unverified_since(
    order: Order, *, now: datetime, verify_for: timedelta
) -> datetime | None:
    """``unverified_since`` of an order with trades. Trades from a lookup may be incomplete for as
    long as a view can lag; those that the reply to the order named are complete.
    """
    if order.state is OrderState.MATCHED and order.unverified_since is None:
        return None
    since = order.unverified_since or now
    return since if now < since + verify_for else None


def _expire(order: Order, *, now: datetime) -> Order:
    return replace(
        order,
        state=OrderState.UNKNOWN,
        unverified_since=now if order.last_reply is VenueReply.RETRY_LATER else None,
    )


def _is_verified_unfilled(order: Order, *, now: datetime, verify_for: timedelta) -> bool:
    """Whether the order can have no trade any more. Our orders never rest in the book: one that is
    neither traded nor held is over.
    """
    since = order.unverified_since
    is_late = is_past_deadline(order, now=now) if since is None else now >= since + verify_for
    return is_late and order.empty_lookups >= MIN_EMPTY_LOOKUPS


def is_past_deadline(order: Order, *, now: datetime) -> bool:
    """Whether the outcome of an order must be known by now."""
    return now >= order.expires_at + OUTCOME_DEADLINE


def needs_chain_check(order: Order) -> bool:
    """Whether an order was ended by empty lookups, without a refusal or a kill by the venue: then
    the chain must have no fill of it either.
    """
    return order.state is OrderState.KILLED and order.last_reply in (
        VenueReply.NO_REPLY,
        VenueReply.ARRIVED,
    )


def _end_unfilled(order: Order) -> Order:
    if order.last_reply in (VenueReply.NO_REPLY, VenueReply.ARRIVED):
        reason = "; ".join(
            filter(None, (order.reason, "the venue has no trade of it and does not hold it"))
        )
        return replace(order, state=OrderState.KILLED, reason=reason)
    return replace(
        order,
        state=OrderState.KILLED if order.last_reply is VenueReply.KILLED else OrderState.REJECTED,
    )


def apply_trades(order: Order, trades: Iterable[TradeReported | Trade]) -> Order:
    """The order with the sums of its trades; failed ones do not count. It is final once its trades
    add up to the match and each of them is final.
    """
    known = tuple(trades)
    if sum(trade.shares for trade in known) + ROUNDING_TOLERANCE_SHARES < order.shares:
        return replace(order, state=OrderState.MATCHED)
    counted = [trade for trade in known if trade.status is not TradeStatus.FAILED]
    are_final = all(trade.status in FINAL_STATUSES for trade in known)
    if order.unverified_since is not None or not are_final:
        return _sum_up(order, counted, state=OrderState.MATCHED)
    return _sum_up(order, counted, state=OrderState.CONFIRMED if counted else OrderState.FAILED)


def _sum_up(order: Order, trades: Sequence[TradeReported | Trade], *, state: OrderState) -> Order:
    return replace(
        order,
        state=state,
        shares=sum(trade.shares for trade in trades),
        usdc=sum(trade.usdc for trade in trades),
        fee_usdc=sum(trade.fee_usdc for trade in trades),
    )


def obstacle_may_pass(order: Order) -> bool:
    """Whether what a final order left undone may succeed later, as a new order: the book took a
    part of it or nothing, its settlement failed, or it was not signed.

    Not after empty lookups alone: that the venue shows no trade of an order is no proof that it
    refused it.
    """
    match order.state:
        case OrderState.KILLED:
            return order.last_reply is VenueReply.KILLED
        case OrderState.REJECTED:
            reason = parse_reason(order.reason)
            return reason is not None and reason.may_pass
        case OrderState.CONFIRMED | OrderState.FAILED | OrderState.WITHDRAWN:
            return True
        case _:
            return False
