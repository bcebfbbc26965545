"""Given what has happened to an order, what is the next step? Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from shared.domain.follows import Mode, may_trade
from shared.domain.ids import remainder_id
from shared.domain.money import Side, cost_floor
from shared.messages.intents import Intent, IntentApproved
from shared.messages.orders import FINAL_STATES, OrderState, TradeReported, TradeStatus
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Killed,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
)

NEVER_ARRIVED_AFTER = timedelta(seconds=60)
"""An order that the venue has no trade of, this long after its bytes could last have left: the
venue's own views lag by seconds."""

SETTLED_WITHIN = timedelta(minutes=30)
"""From signing to the last word on the trades: the venue's settlements take seconds to minutes,
also where they are tried again."""

MIN_EMPTY_LOOKUPS = 2
"""That found nothing, before nothing is believed: one of them may have asked a replica that stands
still."""

FINAL_STATUSES = frozenset({TradeStatus.CONFIRMED, TradeStatus.FAILED})

DUST = 10_000
"""A hundredth of a share: the venue's trades round their sizes, its answer to the order does not.
"""

RANK_BY_STATUS = {
    TradeStatus.MATCHED: 0,
    TradeStatus.RETRYING: 1,
    TradeStatus.MINED: 1,
    TradeStatus.CONFIRMED: 2,
    TradeStatus.FAILED: 2,
}
"""What tells of a trade is not in order, so that it never moves back. Mined can be undone and tried
again, as often as it takes."""


class VenueReply(StrEnum):
    """What the venue has said of an order that has no outcome yet."""

    NOTHING = ""
    """No answer came, or none that tells: it may have arrived."""
    RETRY_LATER = "retry_later"
    """Each time that it was sent, it was not taken."""
    ARRIVED = "arrived"
    """It is there; it may be held (``delayed``), and matched later."""
    KILLED = "killed"
    REJECTED = "rejected"


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
    last_reply: VenueReply = VenueReply.NOTHING
    unverified_since: datetime | None = None
    """Since when nothing but the lag of the venue's views can hide a trade of it; None: there is
    another doubt, or none."""
    empty_lookups: int = 0
    """How often the venue was asked since it was sent last or the doubt began, and had no trade of
    it."""
    alerted_at: datetime | None = None
    """When a human was called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLookup:
    """What the venue shows of an order."""

    trades: tuple[TradeReported, ...]
    """All that we know of, also from earlier looks."""
    is_open: bool = False
    """The venue still holds the order: it can be matched yet."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the kept bytes: for the first time or, which is harmless, again. The venue knows the
    same bytes by their hash.
    """


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the venue what it has of the order."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to do: it is final, or matched, and its trades will tell."""


Step = Send | Ask | Done


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedExit:
    """An exit whose order is final and sold less than it was to."""

    order: Order
    intent: Intent
    requested_shares: int


def may_be_signed(approved: IntentApproved, *, mode: Mode, now: datetime) -> str:
    """Why the intent must not become an order now; empty where it may."""
    if not may_trade(mode, approved.intent.side):
        return f"{mode} when it was to be signed"
    if now >= approved.expires_at:
        return "its time was over when it was to be signed"
    return ""


def next_step(order: Order, *, now: datetime) -> Step:
    """Send what has no answer while it is worth it; ask where an answer was lost or is not to be
    believed, or where the time is over.
    """
    if order.state in FINAL_STATES or (
        order.state is OrderState.MATCHED and order.unverified_since is None
    ):
        return Done()
    if order.state is OrderState.SIGNED and now < order.expires_at:
        return Send()
    return Ask()


def is_worth_sending_again(order: Order, *, now: datetime) -> bool:
    """Of an order that the venue was just asked for and has nothing of: the same bytes cannot make
    a second order.
    """
    return (
        order.state is OrderState.UNKNOWN
        and order.last_reply is VenueReply.NOTHING
        and now < order.expires_at
    )


def after_reply(order: Order, reply: Reply, *, is_first: bool, now: datetime) -> Order:
    """The order as the venue's answer leaves it.

    A no is believed at once only where no other sending of these bytes can have been taken. Else
    the venue's trades decide: an earlier sending, or a copy that a gateway made, may have spent
    what is missing now; and what was killed may have been filled in part.
    """
    match reply:
        case Accepted():
            return _accepted(order, reply, now=now)
        case Rejected() if is_first and reply.reason.is_conclusive:
            return replace(order, state=OrderState.REJECTED, reason=f"{reply.reason}: {reply.text}")
        case Rejected() | Killed():
            return _unverified(order, reply, now=now)
        case Duplicated() | ReplyLost():
            last = VenueReply.ARRIVED if isinstance(reply, Duplicated) else order.last_reply
            return replace(order, state=OrderState.UNKNOWN, last_reply=last, reason=reply.text)
        case RetryLater():
            was_never_taken = order.state is OrderState.SIGNED and (
                is_first or order.last_reply is VenueReply.RETRY_LATER
            )
            return (
                replace(order, last_reply=VenueReply.RETRY_LATER, reason=reply.text)
                if was_never_taken
                else order
            )


def _accepted(order: Order, reply: Accepted, *, now: datetime) -> Order:
    """A FOK or FAK that is accepted without a match yet (``delayed``) is not known to be filled,
    nor to be killed.
    """
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


def _unverified(order: Order, reply: Rejected | Killed, *, now: datetime) -> Order:
    last_reply, reason = (
        (VenueReply.KILLED, reply.text)
        if isinstance(reply, Killed)
        else (VenueReply.REJECTED, f"{reply.reason}: {reply.text}")
    )
    return replace(
        order,
        state=OrderState.UNKNOWN,
        last_reply=last_reply,
        reason=reason,
        unverified_since=now,
        empty_lookups=0,
    )


def after_lookup(order: Order, look: OrderLookup, *, now: datetime, verify_for: timedelta) -> Order:
    """The order as the venue shows it. Where it shows nothing, nothing is final before nothing can
    be hidden any more.
    """
    if look.trades:
        found = replace(
            order,
            state=OrderState.MATCHED,
            unverified_since=_still_unverified(order, now=now, verify_for=verify_for),
        )
        return with_trades(found, look.trades)
    if order.state is OrderState.MATCHED:  # by the venue's own word; the view that we got is older
        return order
    order = _time_is_over(order, now=now) if order.state is OrderState.SIGNED else order
    if look.is_open:
        last = (
            VenueReply.ARRIVED
            if order.last_reply in (VenueReply.NOTHING, VenueReply.RETRY_LATER)
            else order.last_reply
        )
        return replace(order, last_reply=last, unverified_since=now, empty_lookups=0)
    order = replace(order, empty_lookups=order.empty_lookups + 1)
    return _came_to_nothing(order) if _is_certain(order, now=now, verify_for=verify_for) else order


def _still_unverified(order: Order, *, now: datetime, verify_for: timedelta) -> datetime | None:
    """Trades that were found by looking may not be all, for as long as a view can lag; those that
    an answer named are.
    """
    if order.state is OrderState.MATCHED and order.unverified_since is None:
        return None
    since = order.unverified_since or now
    return since if now < since + verify_for else None


def _time_is_over(order: Order, *, now: datetime) -> Order:
    return replace(
        order,
        state=OrderState.UNKNOWN,
        unverified_since=now if order.last_reply is VenueReply.RETRY_LATER else None,
    )


def _is_certain(order: Order, *, now: datetime, verify_for: timedelta) -> bool:
    """An order of ours never rests: what was neither traded nor is held will not be."""
    since = order.unverified_since
    is_time = is_past_deadline(order, now=now) if since is None else now >= since + verify_for
    return is_time and order.empty_lookups >= MIN_EMPTY_LOOKUPS


def is_past_deadline(order: Order, *, now: datetime) -> bool:
    """By now an order is known to be filled or not."""
    return now >= order.expires_at + NEVER_ARRIVED_AFTER


def needs_a_human(order: Order, look: OrderLookup | None, *, now: datetime) -> bool:
    """Whether an order must be told of that looking (None: the venue did not answer) has not
    resolved in time. Once is enough.
    """
    if order.alerted_at is not None or order.state in FINAL_STATES:
        return False
    if order.state is OrderState.MATCHED:
        return is_unsettled(order, now=now)
    return is_past_deadline(order, now=now) and (
        look is None or look.is_open or order.empty_lookups >= MIN_EMPTY_LOOKUPS
    )


def is_unsettled(order: Order, *, now: datetime) -> bool:
    """Matched, and for too long without the last word on its trades."""
    return order.state is OrderState.MATCHED and now >= order.signed_at + SETTLED_WITHIN


def rests_on_empty_lookups(order: Order) -> bool:
    """Whether an order ended without the venue's own no: then the chain is asked too."""
    return order.state is OrderState.KILLED and order.last_reply in (
        VenueReply.NOTHING,
        VenueReply.ARRIVED,
    )


def _came_to_nothing(order: Order) -> Order:
    if order.last_reply in (VenueReply.NOTHING, VenueReply.ARRIVED):
        reason = "; ".join(
            filter(None, (order.reason, "the venue has no trade of it, nor holds it"))
        )
        return replace(order, state=OrderState.KILLED, reason=reason)
    return replace(
        order,
        state=OrderState.KILLED if order.last_reply is VenueReply.KILLED else OrderState.REJECTED,
    )


def with_trades(order: Order, trades: Iterable[TradeReported]) -> Order:
    """The order by its trades: failed ones do not count; final once all of the match is known and
    every trade of it is final.
    """
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
    if order.unverified_since is not None or any(
        trade.status not in FINAL_STATUSES for trade in known
    ):
        return replace(summed, state=OrderState.MATCHED)
    return replace(summed, state=OrderState.CONFIRMED if counted else OrderState.FAILED)


def is_news(known: TradeReported | None, told: TradeReported) -> bool:
    """Whether a report moves a trade on: by its status, or to another transaction. A final status
    stands.
    """
    if known is None:
        return True
    if known.status in FINAL_STATUSES or RANK_BY_STATUS[told.status] < RANK_BY_STATUS[known.status]:
        return False
    return told.status is not known.status or told.transaction_hash not in (
        "",
        known.transaction_hash,
    )


def is_remainder_due(unfinished: UnfinishedExit, *, now: datetime, after: timedelta) -> bool:
    """The book needs time to fill up again: ``after``, or as long again as the copy was old when
    its order was signed.
    """
    age = unfinished.order.signed_at - unfinished.intent.filled_at
    return now >= unfinished.order.signed_at + max(after, age)


def remainder_of(unfinished: UnfinishedExit, *, now: datetime) -> Intent:
    """What is left goes around again, to be quoted and judged as any copy is, and its age is still
    counted from the leader's trade.
    """
    intent, shares = unfinished.intent, unfinished.requested_shares - unfinished.order.shares
    changes = {
        "intent_id": remainder_id(intent.intent_id),
        "continues": intent.intent_id,
        "usdc": cost_floor(shares, intent.leader_price),
        "shares": shares,
        "seen_at": now,
        "intended_at": now,
    }
    return intent.model_copy(update=changes)
