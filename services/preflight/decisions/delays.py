"""When an entry is judged again instead of being refused: over the rate of its follower, or after
it waited so long that its quote was too old. And when it is let go. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from services.preflight.decisions.checks import Verdict, check_quote_age, refuse
from services.preflight.decisions.facts import ENTRIES_WINDOW, Limits, PreflightFacts, expires_at
from services.preflight.decisions.violations import Violation, require
from shared.domain.money import Side
from shared.messages.intents import (
    Intent,
    IntentRefused,
)
from shared.messages.refusals import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEntries:
    """What the follower's other entries take of his rate."""

    approved_at: Sequence[datetime] = ()
    """Those of the last minute."""
    waiting_until: Sequence[datetime] = ()
    """Those that wait, and were delayed before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedEntry:
    """An entry without a verdict, which is quoted and judged again later."""

    intent: Intent
    due_at: datetime
    expires_at: datetime
    """From then on it is too old."""
    reason: Refusal
    """What it would be refused for."""
    traceparent: str | None = None


def is_over_rate(verdict: Verdict) -> bool:
    """Whether nothing but the rate of its follower is against the entry."""
    return isinstance(verdict, IntentRefused) and verdict.reason is Refusal.TOO_MANY_ENTRIES


def delay_entry(
    intent: Intent, others: OtherEntries, *, limits: Limits, now: datetime
) -> DelayedEntry | None:
    """The entry, to be judged again once the rate has room for it behind those that wait already;
    None where it would be too old by then.
    """
    limit = require(limits.max_entries_per_minute, "limit of entries")
    due_at, end = _room_at(others, limit=limit, now=now), expires_at(intent, limits)
    return (
        DelayedEntry(intent=intent, due_at=due_at, expires_at=end, reason=Refusal.TOO_MANY_ENTRIES)
        if due_at < end
        else None
    )


def quote_again(facts: PreflightFacts, verdict: Verdict) -> DelayedEntry | None:
    """The entry, to be quoted again at once, where its quote has become too old only after it was
    made: the entry waited for its judgement behind many others. None: the verdict stands. Exits are
    attempted again in any case.
    """
    if (
        facts.side is Side.SELL
        or not isinstance(verdict, IntentRefused)
        or verdict.reason is not Refusal.QUOTE_TOO_OLD
        or check_quote_age(replace(facts, now=facts.quoted.occurred_at)) is not None
    ):
        return None
    intent = facts.quoted.intent
    return DelayedEntry(
        intent=intent,
        due_at=facts.now,
        expires_at=expires_at(intent, facts.limits),
        reason=verdict.reason,
    )


def let_go(facts: PreflightFacts) -> tuple[IntentRefused, ...]:
    """Refuse the delayed entries that an exit has overtaken, whatever its own verdict is: nothing
    is bought once the leader has sold. Empty where an entry is judged.
    """
    if facts.side is Side.BUY:
        return ()
    sale, position = facts.quoted.intent, require(facts.position, "position")
    return tuple(
        refuse(
            replace(
                facts,
                quoted=facts.quoted.model_copy(update={"intent": entry}),
                position=None,
                exit=None,
            ),
            Violation(Refusal.EXIT_CAME_FIRST, Decimal(1), Decimal(0)),
        )
        for entry in position.delayed_entries
        if entry.filled_at <= sale.filled_at
    )


def _room_at(others: OtherEntries, *, limit: int, now: datetime) -> datetime:
    """When fewer than ``limit`` entries are within the window before it."""
    waiting = (max(due_at, now) for due_at in others.waiting_until)
    entries = sorted((*others.approved_at, *waiting))
    if len(entries) < limit:
        return now
    return max(now, entries[-limit] + ENTRIES_WINDOW)
