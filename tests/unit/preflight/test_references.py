"""What a copy's price is compared with where no trade of the leader is copied."""

from decimal import Decimal
from typing import Any

import pytest

from services.preflight.decisions import (
    Exit,
    FollowPosition,
    judge,
)
from shared.domain.money import Side
from shared.messages.intents import (
    Bound,
    CopyCause,
    IntentApproved,
    IntentRefused,
    QuoteSource,
)
from shared.messages.refusals import Refusal
from tests.builders import NOON, a_quote, levels, quoted, seconds, shares
from tests.unit.preflight.test_decisions import some_facts

BOUND = Bound(price=Decimal("0.50"), seen_at=NOON)


def verdict(best: str, **quote: Any) -> IntentApproved | IntentRefused:
    """Of an exit by level of ten shares; the follow allows 2 % of slippage."""
    given = quoted(
        a_quote(levels=levels((best, 10)), fee_rate=Decimal(0), **quote),
        side=Side.SELL,
        leader_price=None,
        cause=CopyCause.RECONCILED,
        shares=shares(10),
        usdc=0,
    )
    exit_ = Exit(
        intent=given.intent,
        base_shares=shares(10),
        shares=shares(10),
        expires_at=NOON + seconds(600),
    )
    position = FollowPosition(held_shares=shares(10))
    return judge(some_facts(quoted=given, exit=exit_, position=position))


def test_the_limit_price_is_counted_from_the_middle_of_the_book() -> None:
    """0.50 less 2 %, on the grid of 0.01."""
    approved = verdict("0.49", opposite_best=Decimal("0.51"))

    assert isinstance(approved, IntentApproved)
    assert approved.limit_price == Decimal("0.49")


@pytest.mark.parametrize(
    ("best", "quote"),
    [
        ("0.40", {"opposite_best": Decimal("0.60")}),
        ("0.50", {"opposite_best": Decimal(1)}),
        ("0.40", {"source": QuoteSource.LAST_TRADE, "bound": BOUND}),
    ],
    ids=["a wide book", "nobody asks", "a fallback price far from its bound"],
)
def test_a_price_far_from_its_reference_is_refused_for_now(
    best: str, quote: dict[str, Any]
) -> None:
    refused = verdict(best, **quote)

    assert isinstance(refused, IntentRefused)
    assert refused.reason is Refusal.SLIPPAGE_TOO_HIGH


@pytest.mark.parametrize(
    "quote",
    [
        {"source": QuoteSource.LAST_TRADE, "bound": BOUND},
        {"source": QuoteSource.MIDPOINT},
    ],
)
def test_a_fallback_price_is_compared_with_its_bound_or_with_itself(quote: dict[str, Any]) -> None:
    assert isinstance(verdict("0.50", **quote), IntentApproved)
