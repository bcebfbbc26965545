"""Which of its leader's entries a follow copies, by its terms. Pure.

Every exit passes: what was bought can be sold. What a filter needs and the venue does not say does
not pass.
"""

from collections.abc import Callable
from decimal import Decimal

from services.preflight.decisions.facts import PreflightFacts
from services.preflight.decisions.violations import (
    Check,
    Violation,
    check_at_least,
    check_at_most,
    require,
    seconds,
)
from shared.domain.money import Side, cost_floor
from shared.domain.prices import spread_bps
from shared.domain.terms import NO_FILTERS, Filters
from shared.messages.filters import FollowFilters, MarketDetails
from shared.messages.refusals import Refusal

FilterCheck = Callable[[PreflightFacts, Filters], Violation | None]
DetailsCheck = Callable[[PreflightFacts, Filters, MarketDetails], Violation | None]


def _filter(check: FilterCheck) -> Check:
    """The check with the follow's filters, which every exit passes."""
    return lambda facts: (
        None if facts.side is Side.SELL else check(facts, require(facts.follow, "follow").filters)
    )


def _filter_by_details(check: DetailsCheck) -> Check:
    """The same with the market's details, which ``_check_details`` has found present."""

    def check_with_details(facts: PreflightFacts, filters: Filters) -> Violation | None:
        if not filters.need_market_details:
            return None
        return check(facts, filters, require(facts.quote.market, "market's details"))

    return _filter(check_with_details)


def check_entries_copied(facts: PreflightFacts) -> Violation | None:
    """Those without a trade of the leader are only copied by follows that mirror him."""
    follow, is_of_trade = require(facts.follow, "follow"), facts.quoted.intent.is_of_trade
    if facts.side is Side.SELL or follow.copies_entry(is_of_trade=is_of_trade):
        return None
    return Violation(Refusal.ENTRIES_NOT_COPIED, Decimal(1), Decimal(0))


def check_direction(facts: PreflightFacts) -> Violation | None:
    """Fail an entry that was intended while the follow copied the other outcome of the market."""
    follow, intent = require(facts.follow, "follow"), facts.quoted.intent
    if facts.side is Side.SELL or intent.is_of_complement is follow.counter:
        return None
    return Violation(Refusal.DIRECTION_CHANGED, Decimal(1), Decimal(0))


@_filter
def check_leader_trade(facts: PreflightFacts, filters: Filters) -> Violation | None:
    """Judged by the trade so far: a later slice can lift it over the minimum."""
    intent = facts.quoted.intent
    worth = intent.leader_usdc
    if worth is None:  # an intent from before it was kept: the trade is worth no less than this
        price = require(intent.leader_price, "price of the leader")
        worth = cost_floor(intent.leader_shares, price)
    return check_at_least(Refusal.LEADER_TRADE_TOO_SMALL, worth, filters.min_leader_usdc)


@_filter
def _check_price(facts: PreflightFacts, filters: Filters) -> Violation | None:
    """Judged by the worst level, as the slippage is."""
    price = facts.quote.worst
    if price < filters.min_price:
        return Violation(Refusal.PRICE_FILTERED, price, filters.min_price)
    return check_at_most(Refusal.PRICE_FILTERED, price, filters.max_price)


@_filter
def _check_spread(facts: PreflightFacts, filters: Filters) -> Violation | None:
    """A spread that is not known passes, as by the operator's limit: such a price comes from no
    book, and is compared with its bound instead.
    """
    quote = facts.quote
    if filters.max_spread_bps is None or quote.opposite_best is None:
        return None
    spread = spread_bps(bid=quote.opposite_best, ask=quote.best)
    return check_at_most(Refusal.SPREAD_FILTERED, spread, filters.max_spread_bps)


@_filter
def _check_details(facts: PreflightFacts, filters: Filters) -> Violation | None:
    """Fail where something that the filters need is not known."""
    if not filters.need_market_details:
        return None
    if facts.quote.market is not None and _knows_all(facts.quote.market, filters):
        return None
    return Violation(Refusal.MARKET_DETAILS_UNAVAILABLE, Decimal(0), Decimal(1))


def _knows_all(details: MarketDetails, filters: Filters) -> bool:
    """Whether nothing that the filters need is unknown."""
    needs_end = (filters.min_seconds_to_end, filters.max_seconds_to_end) != (None, None)
    return (
        (details.liquidity_usdc is not None or filters.min_liquidity_usdc is None)
        and (details.ends_at is not None or not needs_end)
        and (details.tags is not None or not (filters.tags or filters.excluded_tags))
    )


@_filter_by_details
def _check_market(_: PreflightFacts, filters: Filters, details: MarketDetails) -> Violation | None:
    if details.condition_id in filters.excluded_markets:
        return Violation(Refusal.MARKET_FILTERED, Decimal(1), Decimal(0))
    if filters.markets and details.condition_id not in filters.markets:
        return Violation(Refusal.MARKET_FILTERED, Decimal(0), Decimal(1))
    return None


@_filter_by_details
def _check_tags(_: PreflightFacts, filters: Filters, details: MarketDetails) -> Violation | None:
    """The value is how many of the market's tags are excluded, or required."""
    tags = frozenset(details.tags or ())
    excluded = filters.excluded_tags & tags
    if excluded:
        return Violation(Refusal.TAG_FILTERED, Decimal(len(excluded)), Decimal(0))
    if filters.tags and filters.tags.isdisjoint(tags):
        return Violation(Refusal.TAG_FILTERED, Decimal(0), Decimal(1))
    return None


@_filter_by_details
def _check_liquidity(
    _: PreflightFacts, filters: Filters, details: MarketDetails
) -> Violation | None:
    if filters.min_liquidity_usdc is None:
        return None
    liquidity = require(details.liquidity_usdc, "liquidity")
    return check_at_least(Refusal.LIQUIDITY_FILTERED, liquidity, filters.min_liquidity_usdc)


@_filter_by_details
def _check_time_to_end(
    facts: PreflightFacts, filters: Filters, details: MarketDetails
) -> Violation | None:
    """A market past its announced end, that is not resolved yet, has a time below zero."""
    shortest, longest = filters.min_seconds_to_end, filters.max_seconds_to_end
    if shortest is None and longest is None:
        return None
    left = seconds(require(details.ends_at, "end") - facts.now)
    if shortest is not None and left < shortest:
        return Violation(Refusal.TIME_TO_END_FILTERED, left, Decimal(shortest))
    if longest is not None:
        return check_at_most(Refusal.TIME_TO_END_FILTERED, left, Decimal(longest))
    return None


def describe_filters(filters: Filters) -> FollowFilters | None:
    """The filters as a part of a message; None where there are none."""
    if filters == NO_FILTERS:
        return None
    return FollowFilters(
        min_leader_usdc=filters.min_leader_usdc,
        min_price=filters.min_price,
        max_price=filters.max_price,
        max_spread_bps=filters.max_spread_bps,
        min_liquidity_usdc=filters.min_liquidity_usdc,
        min_seconds_to_end=filters.min_seconds_to_end,
        max_seconds_to_end=filters.max_seconds_to_end,
        tags=tuple(sorted(filters.tags)),
        excluded_tags=tuple(sorted(filters.excluded_tags)),
        markets=tuple(sorted(filters.markets)),
        excluded_markets=tuple(sorted(filters.excluded_markets)),
    )


FILTERS_OF_QUOTE: tuple[Check, ...] = (
    _check_price,
    _check_spread,
    _check_details,
    _check_market,
    _check_tags,
    _check_liquidity,
    _check_time_to_end,
)
"""After the checks that there is a quote."""
