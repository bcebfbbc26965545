"""No unit appears or is lost in conversions between decimals, shares and USDC."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.money import (
    CENT,
    as_decimal,
    cost_ceiling,
    cost_floor,
    floor_micros,
    micros,
    round_down,
    shares_for,
)

AMOUNTS = st.integers(0, 10**16)
PRICES = st.integers(1, 9999).map(lambda tenth_of_a_tick: Decimal(tenth_of_a_tick).scaleb(-4))


@given(AMOUNTS)
def test_base_units_survive_a_conversion_to_decimals_and_back(amount: int) -> None:
    assert micros(as_decimal(amount)) == amount
    assert floor_micros(as_decimal(amount)) == amount


@pytest.mark.parametrize(
    "text", ["0.0000001", "1.0000005", "-0.0000001", "1.00000000000000000000000000000000001"]
)
def test_a_fraction_of_a_base_unit_is_refused_and_never_rounded(text: str) -> None:
    with pytest.raises(ValueError, match="more than six decimals"):
        micros(Decimal(text))


@pytest.mark.parametrize(
    ("text", "units"),
    [("1.9999999", 1_999_999), ("0.0000009", 0), ("2", 2_000_000), ("1e3", 10**9)],
)
def test_a_fraction_of_a_base_unit_can_be_rounded_down(text: str, units: int) -> None:
    assert floor_micros(Decimal(text)) == units


@given(shares=AMOUNTS, price=PRICES)
def test_a_buyer_pays_what_a_seller_gets_and_at_most_one_unit_more(
    shares: int, price: Decimal
) -> None:
    exact = Fraction(price) * shares

    assert (
        cost_floor(shares, price)
        <= exact
        <= cost_ceiling(shares, price)
        <= cost_floor(shares, price) + 1
    )


@given(usdc=AMOUNTS, price=PRICES)
def test_an_amount_buys_as_many_shares_as_it_can_pay(usdc: int, price: Decimal) -> None:
    bought = shares_for(usdc, price)

    assert cost_ceiling(bought, price) <= usdc
    assert cost_ceiling(bought + 1, price) > usdc


@given(usdc=st.integers(1, 10**15), shares=st.integers(1, 10**15))
@example(usdc=1_000_000, shares=3_000_000)
@example(usdc=2_000_000, shares=3_000_000)
def test_a_price_that_was_computed_by_division_gives_back_the_amount_within_one_unit(
    usdc: int, shares: int
) -> None:
    price = Decimal(usdc) / shares

    assert usdc - 1 <= cost_floor(shares, price) <= usdc <= cost_ceiling(shares, price) <= usdc + 1


@given(AMOUNTS)
def test_an_amount_rounded_down_to_cents_is_less_than_a_cent_smaller(amount: int) -> None:
    cut = round_down(amount, CENT)

    assert cut % CENT == 0
    assert 0 <= amount - cut < CENT
