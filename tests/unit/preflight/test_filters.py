"""The filters of a follow: at, under and over each threshold, that exits pass them all, and that
what is not known does not pass.
"""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preflight.decisions import PreflightFacts, judge
from shared.domain.terms import EntryMode, ExitMode, Filters
from shared.messages.filters import FollowFilters
from shared.messages.intents import (
    IntentApproved,
    IntentRefused,
    Missing,
    NoQuote,
    QuoteSource,
)
from shared.messages.refusals import Refusal
from tests.builders import NOON, a_follow, a_quote, levels, market_details, quoted, shares, usdc
from tests.unit.preflight.test_decisions import INSTANT, refusal, sale, some_facts, with_funds

MARKET, OTHER = market_details().condition_id, "0x" + "0d" * 32
HOUR = timedelta(hours=1)


def filtered(
    filters: dict[str, Any],
    *,
    intent: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
    prices: tuple[str, ...] = ("0.50",),
    **quote: Any,
) -> PreflightFacts:
    """An entry of a follow with these filters, whose market has these details."""
    given_quote = a_quote(
        levels=levels(*((price, 10_000) for price in prices)),
        market=market_details(**(details or {})),
        **quote,
    )
    base = {"leader_price": Decimal(prices[-1]), "leader_usdc": usdc(50)}
    return some_facts(
        quoted=quoted(given_quote, **base | (intent or {})),
        follow=a_follow(filters=Filters(**filters)),
    )


def find_reason(facts: PreflightFacts) -> Refusal | None:
    refused = refusal(facts)
    return refused and refused[0]


def worth(amount: int) -> PreflightFacts:
    return filtered({"min_leader_usdc": usdc(100)}, intent={"leader_usdc": amount})


def ending(left: timedelta) -> PreflightFacts:
    spans = {"min_seconds_to_end": 3_600, "max_seconds_to_end": 7_200}
    return filtered(spans, details={"ends_at": NOON + left})


def with_liquidity(amount: int) -> PreflightFacts:
    return filtered({"min_liquidity_usdc": usdc(1_000)}, details={"liquidity_usdc": amount})


def tagged(*tags: str) -> PreflightFacts:
    filters = {
        "tags": frozenset({"politics", "economy"}),
        "excluded_tags": frozenset({"sports", "crypto"}),
    }
    return filtered(filters, details={"tags": tags})


def in_market(**filters: str) -> PreflightFacts:
    return filtered({name: frozenset({value}) for name, value in filters.items()})


BAND = {"min_price": Decimal("0.10"), "max_price": Decimal("0.90")}
SPREAD = {"max_spread_bps": Decimal(400)}


@pytest.mark.parametrize(
    ("given_facts", "refused_with"),
    [
        (worth(usdc(100) + 1), None),
        (worth(usdc(100)), None),
        (
            worth(usdc(100) - 1),
            (Refusal.LEADER_TRADE_TOO_SMALL, Decimal("99.999999"), 100),
        ),
        (filtered(BAND, prices=("0.11",)), None),
        (filtered(BAND, prices=("0.10",)), None),
        (
            filtered(BAND, prices=("0.09",)),
            (Refusal.PRICE_FILTERED, Decimal("0.09"), Decimal("0.10")),
        ),
        (filtered(BAND, prices=("0.90",)), None),
        (
            filtered(BAND, prices=("0.90", "0.91")),
            (Refusal.PRICE_FILTERED, Decimal("0.91"), Decimal("0.90")),
        ),
        (filtered(SPREAD, prices=("0.51",), opposite_best=Decimal("0.50")), None),
        (filtered(SPREAD, prices=("0.51",), opposite_best=Decimal("0.49")), None),
        (
            filtered(SPREAD, prices=("0.55",), opposite_best=Decimal("0.45")),
            (Refusal.SPREAD_FILTERED, 2000, 400),
        ),
        (filtered(SPREAD, prices=("0.51",), source=QuoteSource.MIDPOINT), None),
        (with_liquidity(usdc(1_000) + 1), None),
        (with_liquidity(usdc(1_000)), None),
        (
            with_liquidity(usdc(1_000) - 1),
            (Refusal.LIQUIDITY_FILTERED, Decimal("999.999999"), 1_000),
        ),
        (ending(HOUR + INSTANT), None),
        (ending(HOUR), None),
        (
            ending(HOUR - INSTANT),
            (Refusal.TIME_TO_END_FILTERED, Decimal("3599.999999"), 3_600),
        ),
        (ending(-HOUR), (Refusal.TIME_TO_END_FILTERED, -3_600, 3_600)),
        (ending(2 * HOUR), None),
        (
            ending(2 * HOUR + INSTANT),
            (Refusal.TIME_TO_END_FILTERED, Decimal("7200.000001"), 7_200),
        ),
        (tagged("politics"), None),
        (tagged("economy", "us-elections"), None),
        (tagged("us-elections"), (Refusal.TAG_FILTERED, 0, 1)),
        (tagged(), (Refusal.TAG_FILTERED, 0, 1)),
        (tagged("politics", "sports"), (Refusal.TAG_FILTERED, 1, 0)),
        (tagged("politics", "sports", "crypto"), (Refusal.TAG_FILTERED, 2, 0)),
        (in_market(markets=MARKET), None),
        (in_market(markets=OTHER), (Refusal.MARKET_FILTERED, 0, 1)),
        (in_market(excluded_markets=OTHER), None),
        (in_market(excluded_markets=MARKET), (Refusal.MARKET_FILTERED, 1, 0)),
    ],
)
def test_an_entry_passes_a_filter_at_its_threshold_and_not_beyond(
    given_facts: PreflightFacts, refused_with: tuple[Refusal, Decimal | int, Decimal | int] | None
) -> None:
    assert refusal(given_facts) == refused_with


NEED_DETAILS: list[dict[str, Any]] = [
    {"min_liquidity_usdc": 1},
    {"min_seconds_to_end": 0},
    {"max_seconds_to_end": 10**9},
    {"tags": frozenset({"politics"})},
    {"excluded_tags": frozenset({"sports"})},
    {"markets": frozenset({MARKET})},
    {"excluded_markets": frozenset({OTHER})},
]


@pytest.mark.parametrize("filters", NEED_DETAILS)
def test_a_filter_does_not_pass_while_the_market_is_not_known(filters: dict[str, Any]) -> None:
    known = filtered(filters, details={"tags": ("politics",)})
    assert isinstance(known.quoted.quote, type(a_quote()))
    quote = known.quoted.quote.model_copy(update={"market": None})
    unknown = replace(known, quoted=known.quoted.model_copy(update={"quote": quote}))

    assert isinstance(judge(known), IntentApproved)
    assert find_reason(unknown) is Refusal.MARKET_DETAILS_UNAVAILABLE


@pytest.mark.parametrize(
    ("filters", "unknown"),
    [
        ({"min_liquidity_usdc": 0}, {"liquidity_usdc": None}),
        ({"min_seconds_to_end": 0}, {"ends_at": None}),
        ({"max_seconds_to_end": 10**9}, {"ends_at": None}),
        ({"tags": frozenset({"politics"})}, {"tags": None}),
        ({"excluded_tags": frozenset({"sports"})}, {"tags": None}),
    ],
)
def test_what_a_filter_needs_and_the_venue_does_not_say_does_not_pass(
    filters: dict[str, Any], unknown: dict[str, Any]
) -> None:
    refused = filtered(filters, details=unknown)

    assert find_reason(refused) is Refusal.MARKET_DETAILS_UNAVAILABLE
    other = filtered({"markets": frozenset({MARKET})}, details=unknown)
    assert isinstance(judge(other), IntentApproved)


def test_without_filters_the_details_of_the_market_do_not_matter() -> None:
    facts = filtered({}, details={"liquidity_usdc": None, "ends_at": None, "tags": ()})

    assert isinstance(judge(facts), IntentApproved)


STRICTEST = Filters(
    min_leader_usdc=10**12,
    min_price=Decimal("0.98"),
    max_price=Decimal("0.99"),
    max_spread_bps=Decimal(0),
    min_liquidity_usdc=10**15,
    min_seconds_to_end=10**9,
    tags=frozenset({"none-such"}),
    markets=frozenset({OTHER}),
)


@given(entries=st.sampled_from([EntryMode.TRADES, EntryMode.NONE]))
def test_no_filter_ever_stops_an_exit(entries: EntryMode) -> None:
    exit_ = sale(shares(10))
    follow = replace(a_follow(), filters=STRICTEST, entries=entries)

    verdict = judge(replace(exit_, follow=follow))

    assert isinstance(verdict, IntentApproved)
    assert verdict.facts.filters is None


def test_a_follow_without_entries_refuses_them_and_copies_exits() -> None:
    follow = a_follow(entries=EntryMode.NONE)

    assert find_reason(some_facts(follow=follow)) is Refusal.ENTRIES_NOT_COPIED
    assert isinstance(judge(replace(sale(shares(10)), follow=follow)), IntentApproved)


def test_the_leaders_trade_is_refused_before_the_size_that_follows_from_it() -> None:
    facts = filtered(
        {"min_leader_usdc": usdc(100)}, intent={"leader_usdc": usdc(50), "usdc": 0, "shares": 0}
    )
    empty = facts.quoted.model_copy(update={"quote": NoQuote(missing=Missing.EMPTY_BOOK)})

    assert find_reason(replace(facts, quoted=empty)) is Refusal.LEADER_TRADE_TOO_SMALL


@pytest.mark.parametrize(("minimum", "passes"), [(usdc(50), True), (usdc(50) + 1, False)])
def test_an_intent_from_before_the_trades_worth_was_kept_is_judged_by_its_slice(
    minimum: int, passes: bool
) -> None:
    facts = filtered({"min_leader_usdc": minimum}, intent={"leader_usdc": None})

    assert isinstance(judge(facts), IntentApproved) is passes


def test_a_verdict_has_the_filters_and_what_they_were_judged_by() -> None:
    verdict = judge(in_market(excluded_markets=MARKET))

    assert isinstance(verdict, IntentRefused)
    assert verdict.facts.filters == FollowFilters(excluded_markets=(MARKET,))
    assert verdict.facts.market == market_details()
    assert judge(some_facts()).facts.filters is None


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (Missing.NO_MARKET, Refusal.NO_COMPLEMENT),
        (Missing.UNAVAILABLE, Refusal.COMPLEMENT_UNAVAILABLE),
    ],
)
def test_a_copy_whose_complement_is_not_known_is_refused(missing: Missing, reason: Refusal) -> None:
    follow = a_follow(counter=True, exits=ExitMode.ALL)
    entry = quoted(complement_missing=missing, leader_token_id="1")
    exit_ = sale(shares(10))
    intent = exit_.quoted.intent.model_copy(update={"complement_missing": missing})
    unknown = exit_.quoted.model_copy(update={"intent": intent})

    assert find_reason(some_facts(quoted=entry, follow=follow)) is reason
    assert find_reason(replace(exit_, quoted=unknown, follow=follow)) is reason


@pytest.mark.parametrize(
    ("max_price", "tick", "limit"),
    [
        ("1", "0.01", "0.55"),
        ("0.52", "0.01", "0.52"),
        ("0.525", "0.01", "0.52"),
        ("0.5", "0.1", "0.5"),
    ],
)
def test_the_limit_price_of_an_entry_is_no_higher_than_the_filter(
    max_price: str, tick: str, limit: str
) -> None:
    """The book can move before the order arrives: it must not be filled above."""
    facts = filtered({"max_price": Decimal(max_price)}, tick_size=Decimal(tick))
    assert facts.follow is not None
    facts = with_funds(
        replace(facts, follow=replace(facts.follow, max_slippage_bps=Decimal(1000))),
        usdc=usdc(10**6),
    )

    verdict = judge(facts)

    assert isinstance(verdict, IntentApproved)
    assert verdict.limit_price == Decimal(limit)


def test_the_limit_price_of_an_entry_is_no_higher_than_the_operators_band() -> None:
    facts = filtered({})
    assert facts.follow is not None
    limits = replace(facts.limits, max_entry_price=Decimal("0.51"))
    follow = replace(facts.follow, max_slippage_bps=Decimal(1000))

    verdict = judge(replace(facts, limits=limits, follow=follow))

    assert isinstance(verdict, IntentApproved)
    assert verdict.limit_price == Decimal("0.51")
