"""Which copies a level has superseded: what they would trade is traded already. Pure."""

from decimal import Decimal

from services.preflight.decisions.exits import RecordedLevel
from services.preflight.decisions.facts import PreflightFacts
from services.preflight.decisions.violations import Violation
from shared.domain.money import Side
from shared.messages.intents import (
    CopyCause,
    Intent,
)
from shared.messages.refusals import Refusal

SELLS_ALL = frozenset({CopyCause.LEADER_OUT, CopyCause.ENDED})
"""Causes of an exit of all that the follow holds."""


def check_already_reconciled(facts: PreflightFacts) -> Violation | None:
    """Fail a copy of what another one has copied: a leader's trade that his level has shown
    already, or a level that was read before the last copy by level, or a later trade, was judged.
    Later attempts of an exit pass.
    """
    intent, position = facts.quoted.intent, facts.position
    if intent.continues or position is None or position.level is None:
        return None
    if _is_superseded(intent, position.level):
        return Violation(Refusal.ALREADY_RECONCILED, Decimal(1), Decimal(0))
    return None


def _is_superseded(intent: Intent, recorded: RecordedLevel) -> bool:
    if recorded.is_traded_since:
        return True
    if intent.cause in SELLS_ALL:
        return recorded.sold_all == sold_all_marker(intent)
    if intent.level is not None:
        return intent.level.base_block_number != recorded.block_number
    through = recorded.mirrored_through if intent.side is Side.BUY else recorded.reconciled_through
    return through is not None and intent.filled_at <= through


def sold_all_marker(intent: Intent) -> str:
    """What tells an exit of everything from another one of the same follow and token."""
    return f"{intent.cause.value}:{intent.controls_version}:{intent.leader_shares}"
