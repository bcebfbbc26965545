"""Terms that contradict themselves are refused, and every term survives the database."""

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.db.controls import FILTERS, TIERS
from shared.domain.terms import NO_FILTERS, Filters, Tier, copy_by_tiers, require_tiers

TIER = Tier(from_usdc=0, percent=Decimal(10))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"from_usdc": -1}, "begins at 0"),
        ({"percent": None}, "give one"),
        ({"fixed_usdc": 1}, "give one"),
        ({"percent": Decimal(0)}, "above 0"),
        ({"percent": Decimal("1e999995")}, "percentage"),
        ({"percent": Decimal("1e-999995")}, "percentage"),
        ({"percent": Decimal("NaN")}, "percentage"),
        ({"from_usdc": 10**18 + 1}, "begins at"),
        ({"percent": None, "fixed_usdc": 10**18 + 1}, "fixed amount"),
    ],
)
def test_a_tier_that_sizes_nothing_is_refused(wrong: dict[str, Any], named: str) -> None:
    given: dict[str, Any] = {"from_usdc": 0, "percent": Decimal(10)} | wrong
    with pytest.raises(ValueError, match=named):
        Tier(**given)


@pytest.mark.parametrize(
    ("starts", "named"), [((1,), "at 0"), ((0, 5, 5), "smallest first"), ((0, 9, 5), "smallest")]
)
def test_tiers_that_leave_a_size_open_are_refused(starts: tuple[int, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        require_tiers(tuple(Tier(from_usdc=start, fixed_usdc=1) for start in starts))


@pytest.mark.parametrize(
    ("second", "third"),
    [
        (Tier(from_usdc=1000, fixed_usdc=99), None),
        (Tier(from_usdc=1000, percent=Decimal(5)), Tier(from_usdc=1500, percent=Decimal(20))),
        (Tier(from_usdc=1000, percent=Decimal(20)), Tier(from_usdc=2000, fixed_usdc=399)),
    ],
)
def test_a_tier_that_never_copies_more_than_those_below_is_refused(
    second: Tier, third: Tier | None
) -> None:
    with pytest.raises(ValueError, match="never copy more"):
        require_tiers((TIER, second, *((third,) if third else ())))


TIERS_OF_ANY_SIZE = st.lists(
    st.tuples(st.integers(1, 10**9), st.decimals("0.01", "200", places=2)), max_size=4
).map(
    lambda parts: (
        TIER,
        *(Tier(from_usdc=start, percent=percent) for start, percent in sorted(dict(parts).items())),
    )
)


@given(tiers=TIERS_OF_ANY_SIZE, sizes=st.lists(st.integers(0, 2 * 10**9), min_size=2, max_size=2))
def test_a_larger_trade_is_never_copied_with_less(
    tiers: tuple[Tier, ...], sizes: list[int]
) -> None:
    smaller, larger = sorted(sizes)

    assert copy_by_tiers(smaller, tiers) <= copy_by_tiers(larger, tiers)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"min_price": Decimal("0.6"), "max_price": Decimal("0.5")}, "lowest price"),
        ({"max_price": Decimal("1.1")}, "at most 1"),
        ({"min_leader_usdc": -1}, "min_leader_usdc"),
        ({"min_liquidity_usdc": -1}, "min_liquidity_usdc"),
        ({"min_liquidity_usdc": 10**18 + 1}, "min_liquidity_usdc"),
        ({"min_leader_usdc": 10**18 + 1}, "min_leader_usdc"),
        ({"max_spread_bps": Decimal("1e999999")}, "max_spread_bps"),
        ({"max_seconds_to_end": 10**11 + 1}, "max_seconds_to_end"),
        ({"min_seconds_to_end": 9, "max_seconds_to_end": 8}, "shortest"),
        ({"tags": frozenset({"a"}), "excluded_tags": frozenset({"a"})}, "excluded"),
        ({"markets": frozenset({"0x1"}), "excluded_markets": frozenset({"0x1"})}, "excluded"),
    ],
)
def test_filters_that_contradict_themselves_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Filters(**wrong)


def test_every_filter_and_tier_survives_the_database() -> None:
    filters = Filters(
        min_leader_usdc=1,
        min_price=Decimal("0.05"),
        max_price=Decimal("0.95"),
        max_spread_bps=Decimal(300),
        min_liquidity_usdc=2,
        min_seconds_to_end=3,
        max_seconds_to_end=4,
        tags=frozenset({"politics"}),
        excluded_tags=frozenset({"crypto"}),
        markets=frozenset({"0x1"}),
        excluded_markets=frozenset({"0x2"}),
    )
    unset = [each.name for each in fields(Filters) if getattr(filters, each.name) == each.default]
    assert unset == []
    assert FILTERS.validate_json(FILTERS.dump_json(filters)) == filters
    assert FILTERS.validate_json("{}") == NO_FILTERS
    tiers = (TIER, Tier(from_usdc=5, fixed_usdc=6))
    assert TIERS.validate_json(TIERS.dump_json(tiers)) == tiers


@pytest.mark.parametrize(
    "filters",
    [
        Filters(min_liquidity_usdc=1),
        Filters(min_seconds_to_end=1),
        Filters(max_seconds_to_end=1),
        Filters(tags=frozenset({"a"})),
        Filters(excluded_tags=frozenset({"a"})),
        Filters(markets=frozenset({"0x1"})),
        Filters(excluded_markets=frozenset({"0x1"})),
    ],
)
def test_what_only_the_catalogue_says_is_asked_of_it(filters: Filters) -> None:
    assert filters.need_market_details


def test_what_needs_no_catalogue_asks_for_none() -> None:
    filters = Filters(min_leader_usdc=1, min_price=Decimal("0.1"), max_spread_bps=Decimal(1))
    assert not filters.need_market_details
