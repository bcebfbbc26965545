"""The verdict about a copy: approved, or refused by the first check that fails. Pure.

Each check returns None where the copy passes, and else the reason with the value and the threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from shared.domain.follows import Follow, Mode
from shared.domain.money import CENT, MIN_BUY_USDC, Side, as_decimal, cost_ceiling, round_down
from shared.domain.prices import adverse_bps, limit_price
from shared.messages.intents import (
    IntentApproved,
    IntentQuoted,
    IntentRefused,
    Missing,
    NoQuote,
    OrderType,
    Quote,
    Refusal,
    VerdictFacts,
)

T = TypeVar("T")
Verdict = IntentApproved | IntentRefused

REFUSAL_BY_MISSING = {
    Missing.EMPTY_BOOK: Refusal.EMPTY_BOOK,
    Missing.NO_MARKET: Refusal.NO_MARKET,
    Missing.UNAVAILABLE: Refusal.QUOTE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's limits for every copy. Amounts in micro-USDC."""

    max_quote_age: timedelta
    max_entry_age: timedelta
    """Since the leader's fill: a later BUY is a stale copy."""
    max_exit_age: timedelta
    """An exit is worth copying for longer: not to exit is a risk of its own."""
    max_trade_usdc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """What a proxy has on the chain, and what of it is reserved. Micro-USDC and micro-shares."""

    usdc: int
    allowance: int
    shares: int
    shares_approved: bool
    fetched_at: datetime
    reserved_usdc: int
    """By copies that the balance on the chain may not show yet."""
    reserved_shares: int
    spent_today: int
    """What the proxy's approved copies of this UTC day take of its daily cap."""

    @property
    def spendable(self) -> int:
        return self.usdc - self.reserved_usdc

    @property
    def sellable(self) -> int:
        return max(0, min(self.shares, self.shares - self.reserved_shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFacts:
    """Everything that a verdict is based on."""

    quoted: IntentQuoted
    follow: Follow | None
    mode: Mode
    controls_version: int
    limits: Limits
    now: datetime
    funds: Funds | None = None
    """None until the checks that need no funds have passed."""

    @property
    def side(self) -> Side:
        return self.quoted.intent.side

    @property
    def usdc(self) -> int:
        """What a BUY spends, in whole cents: the venue accepts no finer amounts."""
        return round_down(self.quoted.intent.usdc, CENT)

    @property
    def quote(self) -> Quote:
        if isinstance(self.quoted.quote, NoQuote):
            raise TypeError("there is no quote: _check_quote_exists has to come first")
        return self.quoted.quote

    @property
    def cost(self) -> int:
        """What a BUY can cost at most: the venue takes its fee on top of what is spent."""
        return self.usdc + max_fee(self.usdc, self.quote.fee_rate)


@dataclass(frozen=True, slots=True)
class Violation:
    reason: Refusal
    value: Decimal
    threshold: Decimal


Check = Callable[[PreflightFacts], Violation | None]


def max_fee(usdc: int, rate: Decimal) -> int:
    """The highest fee that spending ``usdc`` can cause, in micro-USDC.

    fee = shares x rate x p x (1 - p) = usdc x rate x (1 - p): below usdc x rate at any price.
    """
    return cost_ceiling(usdc, rate)


def _check_mode(facts: PreflightFacts) -> Violation | None:
    if facts.mode is Mode.HALTED:
        return Violation(Refusal.HALTED, Decimal(1), Decimal(0))
    if facts.mode is Mode.REDUCING and facts.side is Side.BUY:
        return Violation(Refusal.REDUCING, Decimal(1), Decimal(0))
    return None


def _check_followed(facts: PreflightFacts) -> Violation | None:
    return Violation(Refusal.NOT_FOLLOWED, Decimal(0), Decimal(1)) if facts.follow is None else None


def _check_trade_age(facts: PreflightFacts) -> Violation | None:
    limit = facts.limits.max_entry_age if facts.side is Side.BUY else facts.limits.max_exit_age
    return _check_at_most(
        Refusal.TRADE_TOO_OLD, _seconds(facts.now - facts.quoted.intent.filled_at), _seconds(limit)
    )


def _check_quote_exists(facts: PreflightFacts) -> Violation | None:
    quote = facts.quoted.quote
    return (
        Violation(REFUSAL_BY_MISSING[quote.missing], Decimal(0), Decimal(1))
        if isinstance(quote, NoQuote)
        else None
    )


def _check_quote_age(facts: PreflightFacts) -> Violation | None:
    return _check_at_most(
        Refusal.QUOTE_TOO_OLD,
        _seconds(facts.now - facts.quote.fetched_at),
        _seconds(facts.limits.max_quote_age),
    )


def _check_book_depth(facts: PreflightFacts) -> Violation | None:
    """An entry is bought whole or not at all; an exit sells what the book can take."""
    if facts.side is Side.SELL or facts.quote.complete:
        return None
    return Violation(Refusal.BOOK_TOO_THIN, as_decimal(facts.quote.usdc), as_decimal(facts.usdc))


def _check_slippage(facts: PreflightFacts) -> Violation | None:
    """An entry is judged by the worst level that it would reach, an exit by the best level: its
    limit price excludes the levels beyond.
    """
    reached = facts.quote.worst if facts.side is Side.BUY else facts.quote.best
    slippage = adverse_bps(facts.side, reference=facts.quoted.intent.leader_price, offered=reached)
    return _check_at_most(Refusal.SLIPPAGE_TOO_HIGH, slippage, _follow(facts).max_slippage_bps)


def _check_limit_price(facts: PreflightFacts) -> Violation | None:
    """Fail where no price on the market's grid is within the allowed slippage; the value is the
    slippage of the grid's last price.
    """
    if _limit_price(facts) is not None:
        return None
    nearest = facts.quote.tick_size if facts.side is Side.BUY else 1 - facts.quote.tick_size
    slippage = adverse_bps(facts.side, reference=facts.quoted.intent.leader_price, offered=nearest)
    return Violation(Refusal.SLIPPAGE_TOO_HIGH, slippage, _follow(facts).max_slippage_bps)


def _check_minimum_size(facts: PreflightFacts) -> Violation | None:
    if facts.side is Side.BUY:
        return _check_at_least(Refusal.BELOW_MINIMUM, facts.usdc, MIN_BUY_USDC)
    return _check_at_least(
        Refusal.BELOW_MINIMUM, round_down(facts.quoted.intent.shares, CENT), CENT
    )


def _check_maximum_size(facts: PreflightFacts) -> Violation | None:
    """Exits have no maximum: not exiting is a risk of its own."""
    if facts.side is Side.SELL or facts.usdc <= facts.limits.max_trade_usdc:
        return None
    return Violation(
        Refusal.ABOVE_TRADE_MAXIMUM, as_decimal(facts.usdc), as_decimal(facts.limits.max_trade_usdc)
    )


def _check_daily_cap(facts: PreflightFacts) -> Violation | None:
    cap = _follow(facts).daily_cap_usdc
    spent = _funds(facts).spent_today + facts.usdc
    return (
        None
        if facts.side is Side.SELL or spent <= cap
        else Violation(Refusal.DAILY_CAP_REACHED, as_decimal(spent), as_decimal(cap))
    )


def _check_balance(facts: PreflightFacts) -> Violation | None:
    return (
        None
        if facts.side is Side.SELL
        else _check_at_least(Refusal.BALANCE_TOO_LOW, _funds(facts).spendable, facts.cost)
    )


def _check_allowance(facts: PreflightFacts) -> Violation | None:
    if facts.side is Side.BUY:
        return _check_at_least(Refusal.ALLOWANCE_TOO_LOW, _funds(facts).allowance, facts.cost)
    return (
        None
        if _funds(facts).shares_approved
        else Violation(Refusal.ALLOWANCE_TOO_LOW, Decimal(0), Decimal(1))
    )


def _check_position(facts: PreflightFacts) -> Violation | None:
    return (
        None
        if facts.side is Side.BUY
        else _check_at_least(Refusal.NO_POSITION, round_down(_funds(facts).sellable, CENT), CENT)
    )


CHECKS_BEFORE_FUNDS: tuple[Check, ...] = (
    _check_mode,
    _check_followed,
    _check_trade_age,
    _check_minimum_size,
    _check_maximum_size,
    _check_quote_exists,
    _check_quote_age,
    _check_book_depth,
    _check_slippage,
    _check_limit_price,
)
"""Checks that need no request to the chain; the mode comes first.

The size comes before the quote: pricer finds no quote for an intent of size zero, and that would be
reported as an empty book.
"""

CHECKS_OF_FUNDS: tuple[Check, ...] = (
    _check_daily_cap,
    _check_balance,
    _check_allowance,
    _check_position,
)


def refuse_early(facts: PreflightFacts) -> IntentRefused | None:
    """Return the refusal by a check that does not need the proxy's funds; None where all pass."""
    return _first_refusal(CHECKS_BEFORE_FUNDS, facts)


def judge(facts: PreflightFacts) -> Verdict:
    """Approve, or refuse by the first check that fails.

    ``facts.funds`` is required, unless ``refuse_early`` refuses.
    """
    return refuse_early(facts) or _first_refusal(CHECKS_OF_FUNDS, facts) or _approve(facts)


def _first_refusal(checks: tuple[Check, ...], facts: PreflightFacts) -> IntentRefused | None:
    for check in checks:
        if (violation := check(facts)) is not None:
            return _refuse(facts, violation)
    return None


def _refuse(facts: PreflightFacts, violation: Violation) -> IntentRefused:
    return IntentRefused(
        message_id=f"{facts.quoted.intent_id}:judged",
        occurred_at=facts.now,
        intent=facts.quoted.intent,
        reason=violation.reason,
        value=violation.value,
        threshold=violation.threshold,
        facts=_build_verdict_facts(facts),
    )


def _approve(facts: PreflightFacts) -> IntentApproved:
    intent, buys = facts.quoted.intent, facts.side is Side.BUY
    limit = facts.limits.max_entry_age if buys else facts.limits.max_exit_age
    return IntentApproved(
        message_id=f"{intent.intent_id}:judged",
        occurred_at=facts.now,
        intent=intent,
        order_type=OrderType.FOK if buys else OrderType.FAK,
        usdc=facts.usdc if buys else 0,
        shares=0 if buys else round_down(min(intent.shares, _funds(facts).sellable), CENT),
        limit_price=_require(_limit_price(facts), "limit price"),
        expires_at=intent.filled_at + limit,
        quote=facts.quote,
        facts=_build_verdict_facts(facts),
    )


def reserved_usdc(verdict: IntentApproved) -> int:
    """The most that an approved BUY may take out of the proxy, fee included; 0 on a SELL."""
    return verdict.usdc + max_fee(verdict.usdc, verdict.quote.fee_rate)


def _build_verdict_facts(facts: PreflightFacts) -> VerdictFacts:
    funds, follow = facts.funds, facts.follow
    return VerdictFacts(
        judged_at=facts.now,
        controls_version=facts.controls_version,
        mode=facts.mode.value,
        max_slippage_bps=follow.max_slippage_bps if follow else Decimal(0),
        max_trade_usdc=facts.limits.max_trade_usdc,
        daily_cap_usdc=follow.daily_cap_usdc if follow else 0,
        spent_today_usdc=funds.spent_today if funds else 0,
        balance_usdc=funds.usdc if funds else None,
        allowance_usdc=funds.allowance if funds else None,
        balance_shares=funds.shares if funds else None,
        reserved_usdc=funds.reserved_usdc if funds else 0,
        reserved_shares=funds.reserved_shares if funds else 0,
        balance_at=funds.fetched_at if funds else None,
    )


def _limit_price(facts: PreflightFacts) -> Decimal | None:
    leader_price, slippage = facts.quoted.intent.leader_price, _follow(facts).max_slippage_bps
    return limit_price(
        facts.side, reference=leader_price, slippage_bps=slippage, tick=facts.quote.tick_size
    )


def _follow(facts: PreflightFacts) -> Follow:
    return _require(facts.follow, "follow")


def _funds(facts: PreflightFacts) -> Funds:
    return _require(facts.funds, "funds")


def _require(fact: T | None, name: str) -> T:
    """The checks run in order: what a later one uses, an earlier one has found present."""
    if fact is None:
        raise TypeError(f"the facts have no {name}: the check or the fetch before was left out")
    return fact


def _check_at_most(reason: Refusal, value: Decimal, threshold: Decimal) -> Violation | None:
    return Violation(reason, value, threshold) if value > threshold else None


def _check_at_least(reason: Refusal, value: int, threshold: int) -> Violation | None:
    return (
        Violation(reason, as_decimal(value), as_decimal(threshold)) if value < threshold else None
    )


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)
