"""Whom and what entries may be about, where the operator names them. Pure."""

from decimal import Decimal

from services.preflight.decisions.facts import PreflightFacts
from services.preflight.decisions.violations import Check, Violation
from shared.domain.money import Side
from shared.messages.refusals import Refusal


def _check_follower(facts: PreflightFacts) -> Violation | None:
    return _check_list(
        facts,
        Refusal.FOLLOWER_NOT_ALLOWED,
        facts.quoted.intent.proxy,
        facts.limits.allowed_followers,
    )


def _check_leader(facts: PreflightFacts) -> Violation | None:
    return _check_list(
        facts,
        Refusal.LEADER_NOT_ALLOWED,
        facts.quoted.intent.leader,
        facts.limits.allowed_leaders,
    )


def _check_token(facts: PreflightFacts) -> Violation | None:
    return _check_list(
        facts,
        Refusal.TOKEN_NOT_ALLOWED,
        facts.quoted.intent.token_id,
        facts.limits.allowed_tokens,
    )


def _check_list(
    facts: PreflightFacts, reason: Refusal, name: str, allowed: frozenset[str] | None
) -> Violation | None:
    """Fail for an entry where there is a list, and the name is not in it."""
    if facts.side is Side.SELL or allowed is None or name in allowed:
        return None
    return Violation(reason, Decimal(0), Decimal(1))


ALLOWLISTS: tuple[Check, ...] = (_check_follower, _check_leader, _check_token)
"""They need nothing but the intent."""
