"""Exits: how much of a follow's shares one sells, and when it is intended again. Pure.

An exit copies one slice of a leader's sale for one follow, in one or more attempts: each attempt is
an intent of its own, with its quote, verdict, reservation and order. Three rules:

1. It sells a proportion: what the leader sold of what he held, applied to the shares that the
   follow held when the exit was first judged. Shares that the follow bought later, or that an
   earlier exit is still to sell, are not its business.
2. It waits for the follow's entries that were not settled when it was first judged. Those that have
   no verdict, because they are delayed, are let go (``decisions/delays.py``).
3. An obstacle that may pass ends an attempt and not the exit, until the exit expires. An exit that
   ends with shares left is *unsold*, and an operator is alerted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.ids import continuation_id
from shared.domain.money import MIN_REMAINDER_SHARES, ROUNDING_TOLERANCE_SHARES, cost_floor
from shared.domain.terms import ExitMode
from shared.messages.intents import (
    CopyCause,
    Intent,
    IntentApproved,
    IntentRefused,
)
from shared.messages.orders import OrderReported, OrderState
from shared.messages.refusals import Refusal

MAX_WAIT = timedelta(minutes=1)
"""Between two attempts. The waits grow with the exit's age up to this."""

PASSING_REFUSALS = frozenset(
    {
        Refusal.HALTED,
        Refusal.AWAITS_ENTRY,
        Refusal.EMPTY_BOOK,
        Refusal.QUOTE_UNAVAILABLE,
        Refusal.QUOTE_TOO_OLD,
        Refusal.SLIPPAGE_TOO_HIGH,
        Refusal.BALANCE_TOO_LOW,
        Refusal.ALLOWANCE_TOO_LOW,
    }
)
"""Refusals of an attempt after which the exit is intended again."""

NOTHING_TO_SELL = frozenset(
    {
        Refusal.NO_POSITION,
        Refusal.NOT_CLOSED_OUT,
        Refusal.BELOW_MINIMUM,
        Refusal.EXITS_NOT_COPIED,
        Refusal.ALREADY_RECONCILED,
        Refusal.BEFORE_HISTORY,
        Refusal.NO_COMPLEMENT,
        Refusal.COMPLEMENT_UNAVAILABLE,
    }
)
"""Refusals that end an exit without shares that it should have sold."""


class ExitState(StrEnum):
    OPEN = "open"
    """An attempt is under way, or another one follows."""
    DONE = "done"
    """It sold what it was to sell, there was nothing to sell, or the follow copies no exits."""
    MISSED = "missed"
    """The leader's sale was too old when it was first seen: reconciliation makes the exit."""
    UNSOLD = "unsold"
    """It ended with shares left: an operator must decide what happens to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """An exit as it is recorded. Amounts in micro-shares."""

    intent: Intent
    """Its first attempt; the id of this intent is the exit's."""
    base_shares: int
    """What the follow held when the exit was first judged, less what earlier exits were still to
    sell."""
    awaited_entries: tuple[str, ...] = ()
    """Intents that were approved to buy and not settled then: what they bring belongs to it too."""
    awaited_exits: tuple[str, ...] = ()
    """Earlier exits whose size was not known then: what they sell does not belong to it."""
    shares: int | None = None
    """To sell in all. None: not known before what it awaits is settled."""
    sold_shares: int = 0
    attempts: int = 0
    """Attempts that were judged."""
    state: ExitState = ExitState.OPEN
    reason: str = ""
    """Why the last attempt did not sell everything; empty: it did, or is under way."""
    next_attempt_at: datetime | None = None
    """None while an attempt is under way, and at the end."""
    expires_at: datetime
    traceparent: str | None = None

    @property
    def exit_id(self) -> str:
        return self.intent.intent_id

    @property
    def unsold_shares(self) -> int:
        """What is left to sell; 0 while that is not known."""
        return max(0, (self.shares or 0) - self.sold_shares)

    @property
    def has_nothing_to_sell(self) -> bool:
        """Whether the follow held nothing when the exit was first judged, and awaited nothing."""
        return self.base_shares <= 0 and not self.awaited_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLevel:
    """Up to where a follow's exits are those that its leader's level calls for."""

    block_number: int
    """Of the level that later ones are compared with."""
    reconciled_through: datetime | None = None
    """The leader's sales up to this time are in an exit by level; None: there was none."""
    mirrored_through: datetime | None = None
    """The same of his purchases, in an entry by level."""
    sold_all: str = ""
    """Which exit of everything was made last; empty: none since the level changed."""
    is_traded_since: bool = False
    """Whether a trade of the leader was judged that the intent's own level does not take into
    account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowPosition:
    """What is recorded of one follow and token. Amounts in micro-shares."""

    held_shares: int = 0
    """Bought and not sold by settled copies of the follow."""
    reserved_shares: int = 0
    """Of them, reserved by approved exits that are not settled."""
    held_by_all_follows: int = 0
    """``held_shares`` of all follows of the proxy."""
    own_shares: int = 0
    """The follower's own, which no follow bought; 0 where they may not be sold."""
    open_entries: tuple[str, ...] = ()
    """Approved intents to buy that are not settled."""
    delayed_entries: tuple[Intent, ...] = ()
    """Intents to buy without a verdict, which wait for the rate of the follower."""
    open_exits: tuple[Exit, ...] = ()
    """All but the one at hand."""
    exit: Exit | None = None
    """The recorded exit at hand; None: this is its first attempt."""
    bought_by_entry: Mapping[str, int | None] = field(default_factory=dict)
    """Of the entries that the exit awaits: what each bought; None while it is not settled."""
    size_by_exit: Mapping[str, int | None] = field(default_factory=dict)
    """Of the exits that the exit awaits: what each sells; None while that is not known."""
    level: RecordedLevel | None = None
    """None: the follow was not compared with its leader's holdings yet."""

    @property
    def sellable_shares(self) -> int:
        """What the follow's exits may sell, those that are reserved for included."""
        return self.held_shares + self.own_shares

    @property
    def free_shares(self) -> int:
        return self.sellable_shares - self.reserved_shares


def open_exit(
    intent: Intent, position: FollowPosition, *, mode: ExitMode, expires_at: datetime
) -> Exit:
    """The exit of an intent: the recorded one, with its size if that is known by now, or a new
    one.
    """
    exit_ = position.exit or _new_exit(intent, position, expires_at=expires_at)
    if exit_.shares is not None:
        return exit_
    return replace(exit_, shares=_size(exit_, position, mode=mode))


def _new_exit(intent: Intent, position: FollowPosition, *, expires_at: datetime) -> Exit:
    promised = sum(each.unsold_shares for each in position.open_exits)
    return Exit(
        intent=intent,
        base_shares=position.sellable_shares - promised,
        awaited_entries=position.open_entries,
        awaited_exits=tuple(each.exit_id for each in position.open_exits if each.shares is None),
        expires_at=expires_at,
    )


def _size(exit_: Exit, position: FollowPosition, *, mode: ExitMode) -> int | None:
    """What the exit sells in all; None while something that it awaits is not settled."""
    bought = [position.bought_by_entry.get(each) for each in exit_.awaited_entries]
    promised = [position.size_by_exit.get(each) for each in exit_.awaited_exits]
    if None in bought or None in promised:
        return None
    held = max(0, exit_.base_shares + sum(filter(None, bought)) - sum(filter(None, promised)))
    shares = held if mode is ExitMode.ALL else proportional_shares(exit_.intent, held=held)
    if exit_.intent.level is None:
        return shares
    return min(shares, exit_.intent.shares + position.own_shares)  # not what was bought since


def proportional_shares(intent: Intent, *, held: int) -> int:
    """What an exit sells of ``held`` micro-shares: the proportion that the leader sold of his."""
    if intent.leader_held_shares is None:  # an intent from before it was kept
        return min(intent.shares, held)
    return proportion(held, sold=intent.leader_shares, held_before=intent.leader_held_shares)


def proportion(held: int, *, sold: int, held_before: int) -> int:
    """What of ``held`` micro-shares is sold where a leader sold ``sold`` of ``held_before``."""
    if held_before - sold <= ROUNDING_TOLERANCE_SHARES:
        return held
    return held * sold // held_before


def is_about_size(refusal: IntentRefused | None) -> bool:
    """Whether an exit is refused because of how many shares there are to sell."""
    return refusal is not None and refusal.reason in (Refusal.NO_POSITION, Refusal.BELOW_MINIMUM)


def after_verdict(
    exit_: Exit, verdict: IntentApproved | IntentRefused, *, retry_delay: timedelta
) -> Exit:
    """The exit after an attempt was judged."""
    judged = replace(exit_, attempts=exit_.attempts + 1, next_attempt_at=None, reason="")
    if isinstance(verdict, IntentApproved):
        return judged
    reason = verdict.reason.value
    if verdict.reason in NOTHING_TO_SELL:
        return replace(judged, state=ExitState.DONE, reason=reason)
    if is_missed(verdict):
        return replace(judged, state=ExitState.MISSED, reason=reason)
    if verdict.reason not in PASSING_REFUSALS:
        return replace(judged, state=ExitState.UNSOLD, reason=reason)
    return _retry_or_end(judged, reason, now=verdict.occurred_at, retry_delay=retry_delay)


def is_missed(refused: IntentRefused) -> bool:
    """Whether a leader's sale was seen too late to be copied: his level tells what to sell."""
    return (
        refused.reason is Refusal.TRADE_TOO_OLD
        and refused.intent.cause is CopyCause.TRADE
        and not refused.intent.continues
    )


def after_order(
    exit_: Exit, report: OrderReported, *, now: datetime, retry_delay: timedelta
) -> Exit:
    """The exit after an attempt's order is final."""
    settled = replace(exit_, sold_shares=exit_.sold_shares + report.shares)
    if settled.unsold_shares < MIN_REMAINDER_SHARES:
        return replace(settled, state=ExitState.DONE, reason="")
    reason = report.reason or _reason_by_state(report.state)
    if not report.obstacle_may_pass:
        return replace(settled, state=ExitState.UNSOLD, reason=reason)
    return _retry_or_end(settled, reason, now=now, retry_delay=retry_delay)


def _reason_by_state(state: OrderState) -> str:
    return "the book took a part of it" if state is OrderState.CONFIRMED else state.value


def _retry_or_end(exit_: Exit, reason: str, *, now: datetime, retry_delay: timedelta) -> Exit:
    """Another attempt, the last one right when the exit expires: it is refused as too old."""
    if now >= exit_.expires_at:
        return replace(exit_, state=ExitState.UNSOLD, reason=reason)
    wait = max(retry_delay, min(now - exit_.intent.filled_at, MAX_WAIT))
    return replace(exit_, reason=reason, next_attempt_at=min(now + wait, exit_.expires_at))


def build_continuation(exit_: Exit, *, now: datetime) -> Intent:
    """The exit's next attempt: an intent for what is left, to be quoted and judged as any copy. Its
    age is still counted from the leader's trade.
    """
    first = exit_.intent
    shares = first.shares if exit_.shares is None else exit_.unsold_shares
    changes = {
        "intent_id": continuation_id(first.intent_id, exit_.attempts),
        "continues": first.intent_id,
        "usdc": cost_floor(shares, first.leader_price) if first.leader_price is not None else 0,
        "shares": shares,
        "seen_at": now,
        "intended_at": now,
    }
    return first.model_copy(update=changes)
