"""A limit price is a multiple of the tick, within the grid, and never worse than allowed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import Side
from shared.domain.prices import adverse_bps, limit_price

TICKS = st.sampled_from(["0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001"]).map(Decimal)
SIDES = st.sampled_from(Side)
SLIPPAGES = st.integers(0, 5_000).map(Decimal)
REFERENCES = st.integers(1, 999_999).map(lambda millionths: Decimal(millionths).scaleb(-6))


@given(side=SIDES, reference=REFERENCES, slippage=SLIPPAGES, tick=TICKS)
def test_a_limit_price_is_on_the_grid_and_never_worse_than_allowed(
    side: Side, reference: Decimal, slippage: Decimal, tick: Decimal
) -> None:
    limit = limit_price(side, reference=reference, slippage_bps=slippage, tick=tick)

    if limit is not None:
        assert limit % tick == 0
        assert tick <= limit <= 1 - tick
        assert adverse_bps(side, reference=reference, offered=limit) <= slippage


@given(side=SIDES, reference=REFERENCES, slippage=SLIPPAGES, tick=TICKS)
def test_the_next_price_on_the_grid_would_be_worse_than_allowed(
    side: Side, reference: Decimal, slippage: Decimal, tick: Decimal
) -> None:
    limit = limit_price(side, reference=reference, slippage_bps=slippage, tick=tick)

    first = tick if side is Side.BUY else 1 - tick
    beyond = first if limit is None else limit + tick if side is Side.BUY else limit - tick
    is_outside_the_grid = not tick <= beyond <= 1 - tick
    assert is_outside_the_grid or adverse_bps(side, reference=reference, offered=beyond) > slippage


@pytest.mark.parametrize(("side", "reference"), [(Side.BUY, "0.004"), (Side.SELL, "0.996")])
def test_without_an_allowed_price_on_the_grid_there_is_no_limit_price(
    side: Side, reference: str
) -> None:
    assert (
        limit_price(
            side, reference=Decimal(reference), slippage_bps=Decimal(0), tick=Decimal("0.01")
        )
        is None
    )


@given(reference=REFERENCES, offered=REFERENCES)
def test_a_worse_price_for_a_buyer_is_better_for_a_seller(
    reference: Decimal, offered: Decimal
) -> None:
    bought = adverse_bps(Side.BUY, reference=reference, offered=offered)

    assert bought == -adverse_bps(Side.SELL, reference=reference, offered=offered)
    assert (bought > 0) == (offered > reference)
