"""The limits of entries alone: an exit spends nothing of a cap, and not to exit is a risk of its
own. Pure.
"""

from decimal import Decimal

from services.preflight.decisions.facts import Funds, PreflightFacts
from services.preflight.decisions.violations import (
    Check,
    Violation,
    check_at_most,
    check_time_at_most,
    require,
)
from shared.domain.money import Side, as_decimal
from shared.domain.prices import spread_bps
from shared.messages.refusals import Refusal


def _for_entries(check: Check) -> Check:
    """The check, which every exit passes."""
    return lambda facts: None if facts.side is Side.SELL else check(facts)


@_for_entries
def check_trade_in_future(facts: PreflightFacts) -> Violation | None:
    """A date beyond what clocks differ by is wrong, and says nothing about the trade's age."""
    ahead = facts.quoted.intent.filled_at - facts.now
    return check_time_at_most(Refusal.TRADE_IN_FUTURE, ahead, facts.limits.max_clock_skew)


@_for_entries
def _check_price_band(facts: PreflightFacts) -> Violation | None:
    """Judged by the worst level, as the slippage is."""
    price, limits = facts.quote.worst, facts.limits
    if price < limits.min_entry_price:
        return Violation(Refusal.PRICE_OUT_OF_BAND, price, limits.min_entry_price)
    return check_at_most(Refusal.PRICE_OUT_OF_BAND, price, limits.max_entry_price)


@_for_entries
def _check_spread(facts: PreflightFacts) -> Violation | None:
    """A spread that is not known passes: a fallback price is compared with its bound instead."""
    quote, limit = facts.quote, facts.limits.max_spread_bps
    if limit is None or quote.opposite_best is None:
        return None
    spread = spread_bps(bid=quote.opposite_best, ask=quote.best)
    return check_at_most(Refusal.SPREAD_TOO_WIDE, spread, limit)


@_for_entries
def _check_daily_cap(facts: PreflightFacts) -> Violation | None:
    follow = require(facts.follow, "follow")
    return _check_cap(
        facts,
        Refusal.DAILY_CAP_REACHED,
        spent=_funds(facts).spent_today,
        cap=follow.daily_cap_usdc,
    )


@_for_entries
def _check_follower_daily_cap(facts: PreflightFacts) -> Violation | None:
    return _check_cap(
        facts,
        Refusal.FOLLOWER_DAILY_CAP_REACHED,
        spent=_funds(facts).follower_spent_today,
        cap=facts.limits.max_follower_daily_usdc,
    )


@_for_entries
def _check_market_daily_cap(facts: PreflightFacts) -> Violation | None:
    return _check_cap(
        facts,
        Refusal.MARKET_DAILY_CAP_REACHED,
        spent=_funds(facts).market_spent_today,
        cap=facts.limits.max_market_daily_usdc,
    )


@_for_entries
def _check_global_daily_cap(facts: PreflightFacts) -> Violation | None:
    return _check_cap(
        facts,
        Refusal.GLOBAL_DAILY_CAP_REACHED,
        spent=_funds(facts).global_spent_today,
        cap=facts.limits.max_global_daily_usdc,
    )


def _check_cap(
    facts: PreflightFacts, reason: Refusal, *, spent: int | None, cap: int | None
) -> Violation | None:
    if cap is None:
        return None
    total = require(spent, "amount that was spent") + facts.usdc
    return None if total <= cap else Violation(reason, as_decimal(total), as_decimal(cap))


@_for_entries
def _check_open_positions(facts: PreflightFacts) -> Violation | None:
    """An entry into a token that the follower holds, or is buying, opens no other position."""
    limit = facts.limits.max_open_positions
    if limit is None:
        return None
    tokens = require(_funds(facts).open_tokens, "open tokens")
    if facts.quoted.intent.token_id in tokens:
        return None
    return check_at_most(Refusal.TOO_MANY_POSITIONS, Decimal(len(tokens) + 1), Decimal(limit))


@_for_entries
def _check_entry_rate(facts: PreflightFacts) -> Violation | None:
    limit = facts.limits.max_entries_per_minute
    if limit is None:
        return None
    entries = require(_funds(facts).recent_entries, "recent entries") + 1
    return check_at_most(Refusal.TOO_MANY_ENTRIES, Decimal(entries), Decimal(limit))


def _funds(facts: PreflightFacts) -> Funds:
    return require(facts.funds, "funds")


GUARDRAILS_OF_QUOTE: tuple[Check, ...] = (_check_price_band, _check_spread)
"""After the checks that there is a quote."""

GUARDRAILS_OF_FUNDS: tuple[Check, ...] = (
    _check_daily_cap,
    _check_follower_daily_cap,
    _check_market_daily_cap,
    _check_global_daily_cap,
    _check_open_positions,
    _check_entry_rate,
)
"""What the store counts, as of the funds."""
