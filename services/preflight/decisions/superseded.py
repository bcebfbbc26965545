"""Which exits a level has superseded: what they would sell is sold already. Pure."""

from decimal import Decimal

from services.preflight.decisions.exits import RecordedLevel
from services.preflight.decisions.facts import PreflightFacts
from services.preflight.decisions.violations import Violation
from shared.domain.money import Side
from shared.messages.intents import CopyCause, Intent, Refusal

SELLS_ALL = frozenset({CopyCause.LEADER_OUT, CopyCause.ENDED})
"""Causes of an exit of all that the follow holds."""


def check_already_reconciled(facts: PreflightFacts) -> Violation | None:
    """Fail the first attempt of an exit that sells what another one sells: a leader's sale that his
    level has shown already, or a level that was read before the last exit by level was judged.
    """
    intent, position = facts.quoted.intent, facts.position
    if facts.side is Side.BUY or intent.continues or position is None or position.level is None:
        return None
    if _is_superseded(intent, position.level):
        return Violation(Refusal.ALREADY_RECONCILED, Decimal(1), Decimal(0))
    return None


def _is_superseded(intent: Intent, recorded: RecordedLevel) -> bool:
    if intent.cause in SELLS_ALL:
        return recorded.sold_all == sold_all_marker(intent)
    if intent.level is not None:
        return intent.level.base_block_number != recorded.block_number
    through = recorded.reconciled_through
    return through is not None and intent.filled_at <= through


def sold_all_marker(intent: Intent) -> str:
    """What tells an exit of everything from another one of the same follow and token."""
    return f"{intent.cause.value}:{intent.controls_version}:{intent.leader_shares}"
