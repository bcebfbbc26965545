"""A quote from a fallback is judged no more loosely than one from a book."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.preflight.decisions import judge
from shared.domain.money import Side
from shared.messages.intents import (
    Bound,
    IntentRefused,
    Quote,
    QuoteSource,
)
from shared.messages.refusals import Refusal
from tests.builders import NOON, a_quote, levels, quoted, shares
from tests.unit.preflight.test_decisions import INSTANT, LIMITS, sale, some_facts

FALLBACK_PRICES = (QuoteSource.MIDPOINT, QuoteSource.LAST_TRADE, QuoteSource.LEADER)
BOUND = Bound(price=Decimal("0.50"), seen_at=NOON)


def a_fallback(
    source: QuoteSource, *, price: str = "0.50", bound: Bound | None = BOUND, **more: object
) -> Quote:
    return a_quote(source=source, levels=levels((price, 10)), bound=bound, **more)


def refusal(quote: Quote, side: Side = Side.BUY) -> Refusal | None:
    facts = some_facts() if side is Side.BUY else sale(shares(10))
    verdict = judge(replace(facts, quoted=quoted(quote, side=side, shares=shares(10))))
    return verdict.reason if isinstance(verdict, IntentRefused) else None


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("source", FALLBACK_PRICES)
def test_a_fallback_price_with_a_bound_is_approved(source: QuoteSource, side: Side) -> None:
    assert refusal(a_fallback(source), side) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (QuoteSource.LAST_BOOK, None),
        (QuoteSource.MIDPOINT, None),
        (QuoteSource.LAST_TRADE, Refusal.QUOTE_UNAVAILABLE),
        (QuoteSource.LEADER, Refusal.QUOTE_UNAVAILABLE),
    ],
)
def test_a_price_that_may_be_the_leaders_own_needs_a_bound(
    source: QuoteSource, expected: Refusal | None
) -> None:
    assert refusal(a_fallback(source, bound=None)) is expected


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        (QuoteSource.LAST_BOOK, LIMITS.max_last_book_age),
        *((source, LIMITS.max_quote_age) for source in FALLBACK_PRICES),
    ],
)
def test_each_source_has_its_age_limit(source: QuoteSource, limit: timedelta) -> None:
    assert refusal(a_fallback(source, fetched_at=NOON - limit)) is None
    assert refusal(a_fallback(source, fetched_at=NOON - limit - INSTANT)) is Refusal.QUOTE_TOO_OLD


def test_the_bound_has_its_age_limit() -> None:
    for beyond, expected in ((timedelta(0), None), (INSTANT, Refusal.QUOTE_TOO_OLD)):
        bound = Bound(price=Decimal("0.50"), seen_at=NOON - LIMITS.max_bound_age - beyond)
        assert refusal(a_fallback(QuoteSource.LEADER, bound=bound)) is expected


@pytest.mark.parametrize(
    ("side", "bound", "expected"),
    [
        (Side.BUY, "0.491", None),
        (Side.BUY, "0.490", Refusal.SLIPPAGE_TOO_HIGH),  # 204 bps below the price
        (Side.BUY, "0.60", None),
        (Side.SELL, "0.510", None),
        (Side.SELL, "0.511", Refusal.SLIPPAGE_TOO_HIGH),
        (Side.SELL, "0.40", None),
    ],
)
def test_the_leaders_price_is_compared_with_its_bound(
    side: Side, bound: str, expected: Refusal | None
) -> None:
    """Compared with the leader's price alone it could never be refused (B-22)."""
    quote = a_fallback(QuoteSource.LEADER, bound=Bound(price=Decimal(bound), seen_at=NOON))

    assert refusal(quote, side) is expected


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "0.52"), (Side.SELL, "0.48")])
def test_a_fallback_price_is_compared_with_the_leaders_price(side: Side, price: str) -> None:
    bound = Bound(price=Decimal(price), seen_at=NOON)

    assert (
        refusal(a_fallback(QuoteSource.MIDPOINT, price=price, bound=bound), side)
        is Refusal.SLIPPAGE_TOO_HIGH
    )
