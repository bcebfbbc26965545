"""The verdict about a copy: approved, or refused by the first check that fails. Pure.

Each check returns None where the copy passes, and else the reason with the value and the threshold.
"""

from decimal import Decimal

from services.preflight.decisions.allowlists import ALLOWLISTS
from services.preflight.decisions.exits import Exit, FollowPosition
from services.preflight.decisions.facts import Funds, PreflightFacts, expires_at, max_fee
from services.preflight.decisions.filters import (
    FILTERS_OF_QUOTE,
    check_direction,
    check_entries_copied,
    check_leader_trade,
    describe_filters,
)
from services.preflight.decisions.guardrails import (
    GUARDRAILS_OF_FUNDS,
    GUARDRAILS_OF_QUOTE,
    check_trade_in_future,
)
from services.preflight.decisions.history import check_history
from services.preflight.decisions.superseded import check_already_reconciled
from services.preflight.decisions.violations import (
    Check,
    Violation,
    check_at_least,
    check_at_most,
    check_time_at_most,
    require,
)
from shared.domain.follows import Follow, Mode, is_closed_out, may_trade
from shared.domain.money import CENT, MIN_BUY_USDC, Side, as_decimal, round_down
from shared.domain.prices import adverse_bps, floor_to_tick, limit_price
from shared.domain.terms import ExitMode
from shared.messages.intents import (
    SOURCES_TO_BOUND,
    CopyCause,
    IntentApproved,
    IntentRefused,
    Missing,
    NoQuote,
    OrderType,
    QuoteSource,
    VerdictFacts,
    reference_price,
)
from shared.messages.refusals import Refusal

Verdict = IntentApproved | IntentRefused

REFUSAL_BY_MISSING = {
    Missing.EMPTY_BOOK: Refusal.EMPTY_BOOK,
    Missing.NO_MARKET: Refusal.NO_MARKET,
    Missing.UNAVAILABLE: Refusal.QUOTE_UNAVAILABLE,
}


def _check_mode(facts: PreflightFacts) -> Violation | None:
    if facts.mode is Mode.HALTED:
        return Violation(Refusal.HALTED, Decimal(1), Decimal(0))
    if facts.side is Side.BUY and not may_trade(facts.mode, Side.BUY):
        return Violation(Refusal.REDUCING, Decimal(1), Decimal(0))
    return None


def _check_closed_out(facts: PreflightFacts) -> Violation | None:
    """Fail an exit of everything that the operator has taken back, also by keeping the shares.
    Controls from before the intent's do not tell.
    """
    intent = facts.quoted.intent
    if intent.cause is not CopyCause.ENDED or facts.controls_version < intent.controls_version:
        return None
    if facts.follow is not None and is_closed_out(facts.follow, facts.mode):
        return None
    return Violation(Refusal.NOT_CLOSED_OUT, Decimal(0), Decimal(1))


def _check_followed(facts: PreflightFacts) -> Violation | None:
    return Violation(Refusal.NOT_FOLLOWED, Decimal(0), Decimal(1)) if facts.follow is None else None


def _check_complement(facts: PreflightFacts) -> Violation | None:
    """Fail where the follow copies the complementary outcome, and that is not known. So the follow
    has bought none: whatever it bought, ingest keeps.
    """
    missing = facts.quoted.intent.complement_missing
    if missing is None:
        return None
    is_unavailable = missing is Missing.UNAVAILABLE
    reason = Refusal.COMPLEMENT_UNAVAILABLE if is_unavailable else Refusal.NO_COMPLEMENT
    return Violation(reason, Decimal(0), Decimal(1))


def _check_exits_copied(facts: PreflightFacts) -> Violation | None:
    """A follow that is to sell everything does so whatever its exits are."""
    intent, mode = facts.quoted.intent, _follow(facts).exits
    if mode is not ExitMode.NONE or intent.side is Side.BUY or intent.cause is CopyCause.ENDED:
        return None
    return Violation(Refusal.EXITS_NOT_COPIED, Decimal(1), Decimal(0))


def _check_position(facts: PreflightFacts) -> Violation | None:
    """Fail where the follow holds nothing that is not promised to earlier exits, and no entry of it
    that may bring something is open.
    """
    if facts.side is Side.BUY or (_exit(facts).awaited_entries and _exit(facts).shares is None):
        return None
    to_sell = 0 if _exit(facts).shares == 0 else _position(facts).sellable_shares
    return check_at_least(Refusal.NO_POSITION, round_down(to_sell, CENT), CENT)


def _check_awaited(facts: PreflightFacts) -> Violation | None:
    """Fail while the size of an exit is not known; the value is how many settlements it awaits."""
    if facts.side is Side.BUY or _exit(facts).shares is not None:
        return None
    awaited = len(_exit(facts).awaited_entries) + len(_exit(facts).awaited_exits)
    return Violation(Refusal.AWAITS_ENTRY, Decimal(awaited), Decimal(0))


def _check_trade_age(facts: PreflightFacts) -> Violation | None:
    filled_at = facts.quoted.intent.filled_at
    limit = expires_at(facts.quoted.intent, facts.limits) - filled_at
    return check_time_at_most(Refusal.TRADE_TOO_OLD, facts.now - filled_at, limit)


def _check_quote_exists(facts: PreflightFacts) -> Violation | None:
    """A price that may be the leader's own is none without a bound."""
    quote = facts.quoted.quote
    if isinstance(quote, NoQuote):
        return Violation(REFUSAL_BY_MISSING[quote.missing], Decimal(0), Decimal(1))
    if quote.source in SOURCES_TO_BOUND and quote.bound is None:
        return Violation(Refusal.QUOTE_UNAVAILABLE, Decimal(0), Decimal(1))
    return None


def check_quote_age(facts: PreflightFacts) -> Violation | None:
    """Fail where the quote, or the bound of a fallback price, is too old by now."""
    quote, limits = facts.quote, facts.limits
    is_last_book = quote.source is QuoteSource.LAST_BOOK
    max_age = limits.max_last_book_age if is_last_book else limits.max_quote_age
    violation = check_time_at_most(Refusal.QUOTE_TOO_OLD, facts.now - quote.fetched_at, max_age)
    if violation is not None or quote.bound is None:
        return violation
    bound_age = facts.now - quote.bound.seen_at
    return check_time_at_most(Refusal.QUOTE_TOO_OLD, bound_age, limits.max_bound_age)


def _check_book_depth(facts: PreflightFacts) -> Violation | None:
    """An entry is bought whole or not at all; an exit sells what the book can take."""
    if facts.side is Side.SELL or facts.quote.complete:
        return None
    return Violation(Refusal.BOOK_TOO_THIN, as_decimal(facts.quote.usdc), as_decimal(facts.usdc))


def _check_slippage(facts: PreflightFacts) -> Violation | None:
    """An entry is judged by the worst level that it would reach, an exit by the best level: its
    limit price excludes the levels beyond. A fallback price is compared with its bound, too.
    """
    quote = facts.quote
    reached = quote.worst if facts.side is Side.BUY else quote.best
    references = [_reference(facts)]
    if quote.bound is not None:
        references.append(quote.bound.price)
    slippage = max(
        adverse_bps(facts.side, reference=reference, offered=reached) for reference in references
    )
    return check_at_most(Refusal.SLIPPAGE_TOO_HIGH, slippage, _follow(facts).max_slippage_bps)


def _check_limit_price(facts: PreflightFacts) -> Violation | None:
    """Fail where no price on the market's grid is within the allowed slippage; the value is the
    slippage of the grid's last price.
    """
    if _limit_price(facts) is not None:
        return None
    nearest = facts.quote.tick_size if facts.side is Side.BUY else 1 - facts.quote.tick_size
    slippage = adverse_bps(facts.side, reference=_reference(facts), offered=nearest)
    return Violation(Refusal.SLIPPAGE_TOO_HIGH, slippage, _follow(facts).max_slippage_bps)


def _check_equities(facts: PreflightFacts) -> Violation | None:
    """An unknown equity is not zero; the value is how many are unknown."""
    intent = facts.quoted.intent
    if facts.side is Side.SELL or not intent.sized_by_equity:
        return None
    unknown = [intent.leader_equity_usdc, intent.follower_equity_usdc].count(None)
    return check_at_most(Refusal.EQUITY_UNKNOWN, Decimal(unknown), Decimal(0))


def _check_minimum_size(facts: PreflightFacts) -> Violation | None:
    if facts.side is Side.BUY:
        return check_at_least(Refusal.BELOW_MINIMUM, facts.usdc, MIN_BUY_USDC)
    return check_at_least(Refusal.BELOW_MINIMUM, round_down(_exit(facts).unsold_shares, CENT), CENT)


def _check_maximum_size(facts: PreflightFacts) -> Violation | None:
    """Exits have no maximum: not exiting is a risk of its own."""
    if facts.side is Side.SELL or facts.usdc <= facts.limits.max_trade_usdc:
        return None
    return Violation(
        Refusal.ABOVE_TRADE_MAXIMUM, as_decimal(facts.usdc), as_decimal(facts.limits.max_trade_usdc)
    )


def _check_balance(facts: PreflightFacts) -> Violation | None:
    """An exit sells what of its shares is on the chain and not reserved for another exit."""
    if facts.side is Side.SELL:
        return check_at_least(Refusal.BALANCE_TOO_LOW, _shares_to_sell(facts), CENT)
    return check_at_least(Refusal.BALANCE_TOO_LOW, _funds(facts).spendable, facts.cost)


def _check_allowance(facts: PreflightFacts) -> Violation | None:
    if facts.side is Side.BUY:
        return check_at_least(Refusal.ALLOWANCE_TOO_LOW, _funds(facts).allowance, facts.cost)
    return (
        None
        if _funds(facts).shares_approved
        else Violation(Refusal.ALLOWANCE_TOO_LOW, Decimal(0), Decimal(1))
    )


CHECKS_BEFORE_FUNDS: tuple[Check, ...] = (
    check_history,
    _check_mode,
    _check_closed_out,
    _check_followed,
    *ALLOWLISTS,
    check_entries_copied,
    check_direction,
    _check_exits_copied,
    _check_complement,
    check_already_reconciled,
    _check_position,
    _check_trade_age,
    check_trade_in_future,
    _check_awaited,
    check_leader_trade,
    _check_equities,
    _check_minimum_size,
    _check_maximum_size,
    _check_quote_exists,
    check_quote_age,
    _check_book_depth,
    _check_slippage,
    _check_limit_price,
    *GUARDRAILS_OF_QUOTE,
    *FILTERS_OF_QUOTE,
)
"""Checks that need no request to the chain; what may have been pruned comes first, then the mode.

The size comes before the quote: pricer finds no quote for an intent of size zero, and that would be
reported as an empty book. The leader's trade comes before the size: where it is too small, so is
the copy.
"""

CHECKS_OF_FUNDS: tuple[Check, ...] = (*GUARDRAILS_OF_FUNDS, _check_balance, _check_allowance)


def refuse_early(facts: PreflightFacts) -> IntentRefused | None:
    """Return the refusal by a check that does not need the proxy's funds; None where all pass."""
    return _first_refusal(CHECKS_BEFORE_FUNDS, facts)


def judge(facts: PreflightFacts) -> Verdict:
    """Approve, or refuse by the first check that fails.

    ``facts.funds`` is required, unless ``refuse_early`` refuses.
    """
    return refuse_early(facts) or judge_on_funds(facts)


def judge_on_funds(facts: PreflightFacts) -> Verdict:
    """The verdict about facts that ``refuse_early`` has passed; with ``facts.funds``."""
    return _first_refusal(CHECKS_OF_FUNDS, facts) or _approve(facts)


def _first_refusal(checks: tuple[Check, ...], facts: PreflightFacts) -> IntentRefused | None:
    for check in checks:
        if (violation := check(facts)) is not None:
            return refuse(facts, violation)
    return None


def refuse(facts: PreflightFacts, violation: Violation) -> IntentRefused:
    """The refusal of the facts' intent."""
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
    return IntentApproved(
        message_id=f"{intent.intent_id}:judged",
        occurred_at=facts.now,
        intent=intent,
        order_type=OrderType.FOK if buys else OrderType.FAK,
        usdc=facts.usdc if buys else 0,
        shares=0 if buys else _shares_to_sell(facts),
        limit_price=require(_limit_price(facts), "limit price"),
        expires_at=expires_at(intent, facts.limits),
        quote=facts.quote,
        facts=_build_verdict_facts(facts),
    )


def _shares_to_sell(facts: PreflightFacts) -> int:
    """Micro-shares that this attempt of an exit sells. The balance is only an upper bound: it may
    show settlements that are not reported yet, or not show those that are.
    """
    available = min(_position(facts).free_shares, _funds(facts).shares)
    return round_down(max(0, min(_exit(facts).unsold_shares, available)), CENT)


def reserved_usdc(verdict: IntentApproved) -> int:
    """The most that an approved BUY may take out of the proxy, fee included; 0 on a SELL."""
    return verdict.usdc + max_fee(verdict.usdc, verdict.quote.fee_rate)


def _build_verdict_facts(facts: PreflightFacts) -> VerdictFacts:
    funds, follow, position = facts.funds, facts.follow, facts.position
    quote = facts.quoted.quote
    return VerdictFacts(
        judged_at=facts.now,
        controls_version=facts.controls_version,
        mode=facts.mode.value,
        max_slippage_bps=follow.max_slippage_bps if follow else Decimal(0),
        max_trade_usdc=facts.limits.max_trade_usdc,
        daily_cap_usdc=follow.daily_cap_usdc if follow else 0,
        spent_today_usdc=funds.spent_today if funds else 0,
        follower_daily_cap_usdc=facts.limits.max_follower_daily_usdc,
        follower_spent_today_usdc=funds.follower_spent_today if funds else 0,
        market_daily_cap_usdc=facts.limits.max_market_daily_usdc,
        market_spent_today_usdc=funds.market_spent_today if funds else None,
        global_daily_cap_usdc=facts.limits.max_global_daily_usdc,
        global_spent_today_usdc=funds.global_spent_today if funds else None,
        open_positions=len(funds.open_tokens) if funds and funds.open_tokens is not None else None,
        max_open_positions=facts.limits.max_open_positions,
        recent_entries=funds.recent_entries if funds else None,
        max_entries_per_minute=facts.limits.max_entries_per_minute,
        balance_usdc=funds.usdc if funds else None,
        allowance_usdc=funds.allowance if funds else None,
        balance_shares=funds.shares if funds else None,
        reserved_usdc=funds.reserved_usdc if funds else 0,
        reserved_shares=position.reserved_shares if position else 0,
        balance_at=funds.fetched_at if funds else None,
        held_shares=position.held_shares if position else 0,
        exit_shares=facts.exit.shares if facts.exit else None,
        exit_sold_shares=facts.exit.sold_shares if facts.exit else 0,
        filters=describe_filters(follow.filters) if follow and facts.side is Side.BUY else None,
        market=None if isinstance(quote, NoQuote) else quote.market,
    )


def _limit_price(facts: PreflightFacts) -> Decimal | None:
    """The worst price that the slippage allows; of an entry no higher than the follow's filter and
    the operator's band. None: none is on the market's grid.
    """
    follow, tick = _follow(facts), facts.quote.tick_size
    limit = limit_price(
        facts.side,
        reference=_reference(facts),
        slippage_bps=follow.max_slippage_bps,
        tick=tick,
    )
    if limit is None or facts.side is Side.SELL:
        return limit
    highest = min(follow.filters.max_price, facts.limits.max_entry_price)
    return min(limit, floor_to_tick(highest, tick))


def _reference(facts: PreflightFacts) -> Decimal:
    return reference_price(facts.quoted.intent, facts.quote)


def _follow(facts: PreflightFacts) -> Follow:
    return require(facts.follow, "follow")


def _funds(facts: PreflightFacts) -> Funds:
    return require(facts.funds, "funds")


def _exit(facts: PreflightFacts) -> Exit:
    return require(facts.exit, "exit")


def _position(facts: PreflightFacts) -> FollowPosition:
    return require(facts.position, "position")
