"""Whether it can be known that a leader's trade was not copied before. Pure."""

from services.preflight.decisions.facts import PreflightFacts
from services.preflight.decisions.violations import Violation, check_time_at_most
from shared.domain.history import KEPT_FOR
from shared.messages.refusals import Refusal


def check_history(facts: PreflightFacts) -> Violation | None:
    """Fail a copy whose rows may have been pruned. It comes first: the other checks take the trade
    for one that was not copied yet, and reconciliation would make an exit of it again.
    """
    age = facts.now - facts.quoted.intent.filled_at
    return check_time_at_most(Refusal.BEFORE_HISTORY, age, KEPT_FOR)
