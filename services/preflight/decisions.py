"""May this copy be made? Pure. Each rule is a small question; the first that is broken refuses,
with the value and the threshold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from shared.domain.follows import Follow, Mode
from shared.domain.money import CENT, MICROS, Side, as_decimal, cost_ceiling, round_down
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

MIN_BUY_USDC = MICROS
"""The venue takes no marketable BUY below $1 (protocol notes, 4.5)."""

REFUSAL_BY_MISSING = {
    Missing.EMPTY_BOOK: Refusal.EMPTY_BOOK,
    Missing.NO_MARKET: Refusal.NO_MARKET,
    Missing.UNAVAILABLE: Refusal.QUOTE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's guardrails. Amounts in micro-USDC."""

    max_quote_age: timedelta
    max_entry_age: timedelta
    """Since the leader's fill: a later BUY is a stale copy."""
    max_exit_age: timedelta
    """An exit is worth copying for longer: not to exit is a risk of its own."""
    max_trade_usdc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """What a proxy has on the chain, and what of it is promised. Micro-USDC and micro-shares."""

    usdc: int
    allowance: int
    shares: int
    shares_approved: bool
    fetched_at: datetime
    reserved_usdc: int
    """Of copies that the chain's balance does not show yet."""
    reserved_shares: int
    spent_today: int
    """What the proxy's approved copies of this UTC day count for in its cap."""

    @property
    def spendable(self) -> int:
        return self.usdc - self.reserved_usdc

    @property
    def sellable(self) -> int:
        return max(0, min(self.shares, self.shares - self.reserved_shares))


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFacts:
    """Everything that a verdict is reached on."""

    quoted: IntentQuoted
    follow: Follow | None
    mode: Mode
    controls_version: int
    limits: Limits
    now: datetime
    funds: Funds | None = None

    @property
    def side(self) -> Side:
        return self.quoted.intent.side

    @property
    def usdc(self) -> int:
        """Of a BUY, in whole cents: finer amounts the venue does not take."""
        return round_down(self.quoted.intent.usdc, CENT)

    @property
    def quote(self) -> Quote:
        if isinstance(self.quoted.quote, NoQuote):
            raise TypeError("there is no quote: the rule that asks for one comes first")
        return self.quoted.quote

    @property
    def cost(self) -> int:
        """Of a BUY: what it spends and the most that the fee can be. The fee is taken on top of
        what is spent.
        """
        return self.usdc + max_fee(self.usdc, self.quote.fee_rate)


@dataclass(frozen=True, slots=True)
class Violation:
    reason: Refusal
    value: Decimal
    threshold: Decimal


Check = Callable[[PreflightFacts], Violation | None]


def max_fee(usdc: int, rate: Decimal) -> int:
    """Micro-USDC: fee = shares x rate x p x (1 - p) = usdc x rate x (1 - p), which is below usdc x
    rate at any price.
    """
    return cost_ceiling(usdc, rate)


def _check_mode(case: PreflightFacts) -> Violation | None:
    if case.mode is Mode.HALTED:
        return Violation(Refusal.HALTED, Decimal(1), Decimal(0))
    if case.mode is Mode.REDUCING and case.side is Side.BUY:
        return Violation(Refusal.REDUCING, Decimal(1), Decimal(0))
    return None


def _check_followed(case: PreflightFacts) -> Violation | None:
    return Violation(Refusal.NOT_FOLLOWED, Decimal(0), Decimal(1)) if case.follow is None else None


def _check_trade_age(case: PreflightFacts) -> Violation | None:
    limit = case.limits.max_entry_age if case.side is Side.BUY else case.limits.max_exit_age
    return _over(
        Refusal.TRADE_TOO_OLD, _seconds(case.now - case.quoted.intent.filled_at), _seconds(limit)
    )


def _check_quote_exists(case: PreflightFacts) -> Violation | None:
    quote = case.quoted.quote
    return (
        Violation(REFUSAL_BY_MISSING[quote.missing], Decimal(0), Decimal(1))
        if isinstance(quote, NoQuote)
        else None
    )


def _check_quote_age(case: PreflightFacts) -> Violation | None:
    return _over(
        Refusal.QUOTE_TOO_OLD,
        _seconds(case.now - case.quote.fetched_at),
        _seconds(case.limits.max_quote_age),
    )


def _check_book_depth(case: PreflightFacts) -> Violation | None:
    """An entry is all or nothing; an exit takes what it can get."""
    if case.side is Side.SELL or case.quote.complete:
        return None
    return Violation(Refusal.BOOK_TOO_THIN, as_decimal(case.quote.usdc), as_decimal(case.usdc))


def _check_slippage(case: PreflightFacts) -> Violation | None:
    """By the worst level that the whole order would reach; an exit by the best: the limit price
    cuts off the rest.
    """
    reached = case.quote.worst if case.side is Side.BUY else case.quote.best
    slippage = adverse_bps(case.side, reference=case.quoted.intent.leader_price, offered=reached)
    return _over(Refusal.SLIPPAGE_TOO_HIGH, slippage, _follow(case).max_slippage_bps)


def _check_limit_price(case: PreflightFacts) -> Violation | None:
    """Beyond its ends the market's grid has no price that the follow allows: the nearest one is too
    much.
    """
    if _limit_price(case) is not None:
        return None
    nearest = case.quote.tick_size if case.side is Side.BUY else 1 - case.quote.tick_size
    slippage = adverse_bps(case.side, reference=case.quoted.intent.leader_price, offered=nearest)
    return Violation(Refusal.SLIPPAGE_TOO_HIGH, slippage, _follow(case).max_slippage_bps)


def _check_minimum_size(case: PreflightFacts) -> Violation | None:
    if case.side is Side.BUY:
        return _under(Refusal.BELOW_MINIMUM, case.usdc, MIN_BUY_USDC)
    return _under(Refusal.BELOW_MINIMUM, round_down(case.quoted.intent.shares, CENT), CENT)


def _check_maximum_size(case: PreflightFacts) -> Violation | None:
    """Exits are never too large: not to exit is a risk of its own."""
    if case.side is Side.SELL or case.usdc <= case.limits.max_trade_usdc:
        return None
    return Violation(
        Refusal.ABOVE_TRADE_MAXIMUM, as_decimal(case.usdc), as_decimal(case.limits.max_trade_usdc)
    )


def _check_daily_cap(case: PreflightFacts) -> Violation | None:
    cap = _follow(case).daily_cap_usdc
    with_this = _means(case).spent_today + case.usdc
    return (
        None
        if case.side is Side.SELL or with_this <= cap
        else Violation(Refusal.DAILY_CAP_REACHED, as_decimal(with_this), as_decimal(cap))
    )


def _check_balance(case: PreflightFacts) -> Violation | None:
    return (
        None
        if case.side is Side.SELL
        else _under(Refusal.BALANCE_TOO_LOW, _means(case).spendable, case.cost)
    )


def _check_allowance(case: PreflightFacts) -> Violation | None:
    if case.side is Side.BUY:
        return _under(Refusal.ALLOWANCE_TOO_LOW, _means(case).allowance, case.cost)
    return (
        None
        if _means(case).shares_approved
        else Violation(Refusal.ALLOWANCE_TOO_LOW, Decimal(0), Decimal(1))
    )


def _check_position(case: PreflightFacts) -> Violation | None:
    return (
        None
        if case.side is Side.BUY
        else _under(Refusal.NO_POSITION, round_down(_means(case).sellable, CENT), CENT)
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
"""What can be judged without asking anybody; the mode is looked at first of all.

The size comes before the quote: for an intent of nothing the pricer finds nothing, which says
nothing of the book.
"""

CHECKS_OF_FUNDS: tuple[Check, ...] = (
    _check_daily_cap,
    _check_balance,
    _check_allowance,
    _check_position,
)


def refuse_early(facts: PreflightFacts) -> IntentRefused | None:
    """The refusal that needs no look at the proxy's means, if there is one."""
    return _first_refusal(CHECKS_BEFORE_FUNDS, facts)


def judge(facts: PreflightFacts) -> Verdict:
    """Approve, or refuse with the first limit that is broken. ``case.means`` must be known unless
    an earlier rule refuses.
    """
    return refuse_early(facts) or _first_refusal(CHECKS_OF_FUNDS, facts) or _approve(facts)


def _first_refusal(rules: tuple[Check, ...], case: PreflightFacts) -> IntentRefused | None:
    for rule in rules:
        if (broken := rule(case)) is not None:
            return _refused(case, broken)
    return None


def _refused(case: PreflightFacts, broken: Violation) -> IntentRefused:
    return IntentRefused(
        message_id=f"{case.quoted.intent_id}:judged",
        occurred_at=case.now,
        intent=case.quoted.intent,
        reason=broken.reason,
        value=broken.value,
        threshold=broken.threshold,
        facts=_judged(case),
    )


def _approve(case: PreflightFacts) -> IntentApproved:
    intent, buys = case.quoted.intent, case.side is Side.BUY
    limit = case.limits.max_entry_age if buys else case.limits.max_exit_age
    return IntentApproved(
        message_id=f"{intent.intent_id}:judged",
        occurred_at=case.now,
        intent=intent,
        order_type=OrderType.FOK if buys else OrderType.FAK,
        usdc=case.usdc if buys else 0,
        shares=0 if buys else round_down(min(intent.shares, _means(case).sellable), CENT),
        limit_price=_known(_limit_price(case), "limit price"),
        expires_at=intent.filled_at + limit,
        quote=case.quote,
        facts=_judged(case),
    )


def reserved_usdc(verdict: IntentApproved) -> int:
    """What an approved BUY may take out of the proxy, fee included; 0 on a SELL."""
    return verdict.usdc + max_fee(verdict.usdc, verdict.quote.fee_rate)


def _judged(case: PreflightFacts) -> VerdictFacts:
    means, follow = case.funds, case.follow
    return VerdictFacts(
        judged_at=case.now,
        controls_version=case.controls_version,
        mode=case.mode.value,
        max_slippage_bps=follow.max_slippage_bps if follow else Decimal(0),
        max_trade_usdc=case.limits.max_trade_usdc,
        daily_cap_usdc=follow.daily_cap_usdc if follow else 0,
        spent_today_usdc=means.spent_today if means else 0,
        balance_usdc=means.usdc if means else None,
        allowance_usdc=means.allowance if means else None,
        balance_shares=means.shares if means else None,
        reserved_usdc=means.reserved_usdc if means else 0,
        reserved_shares=means.reserved_shares if means else 0,
        balance_at=means.fetched_at if means else None,
    )


def _limit_price(case: PreflightFacts) -> Decimal | None:
    leader_price, slippage = case.quoted.intent.leader_price, _follow(case).max_slippage_bps
    return limit_price(
        case.side, reference=leader_price, slippage_bps=slippage, tick=case.quote.tick_size
    )


def _follow(case: PreflightFacts) -> Follow:
    return _known(case.follow, "follow")


def _means(case: PreflightFacts) -> Funds:
    return _known(case.funds, "means")


def _known(fact: T | None, name: str) -> T:
    """The rules are in order: what a later one rests on, an earlier one has asked for."""
    if fact is None:
        raise TypeError(
            f"the case has no {name}: the rule or the look-up that comes first was left out"
        )
    return fact


def _over(reason: Refusal, value: Decimal, threshold: Decimal) -> Violation | None:
    return Violation(reason, value, threshold) if value > threshold else None


def _under(reason: Refusal, value: int, threshold: int) -> Violation | None:
    return (
        Violation(reason, as_decimal(value), as_decimal(threshold)) if value < threshold else None
    )


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)).scaleb(-6)
