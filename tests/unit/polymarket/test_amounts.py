"""The amounts of market orders: as fine as every documented limit allows, and never worse than the
limit price.
"""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polymarket._internal.actions.orders.market import _compute_market_order_amounts
from py_clob_client_v2.order_builder.builder import ROUNDING_CONFIG, OrderBuilder
from py_clob_client_v2.order_builder.constants import BUY
from py_clob_client_v2.order_builder.helpers import round_down

from shared.domain.money import CENT, MICROS, Side, as_decimal
from shared.polymarket.amounts import MARKET_ORDER_DECIMALS, market_order_amounts
from shared.polymarket.market_data import TICKS
from tests.builders import shares, usdc

EVERY_TICK = pytest.mark.parametrize("tick", sorted(TICKS), ids=str)
FINEST_TICK = min(TICKS)


def prices(tick: Decimal) -> st.SearchStrategy[Decimal]:
    return st.integers(1, int(1 / tick) - 1).map(lambda ticks: ticks * tick)


def decimals(amount: int) -> int:
    return max(0, -int(as_decimal(amount).normalize().as_tuple().exponent))


@pytest.mark.parametrize(
    ("amount", "limit", "tick", "expected"),
    [
        ("17", "0.985", "0.001", ("17", "17.2588")),  # the SDK alone: 17.25888
        ("9.98", "0.985", "0.001", ("9.98", "10.1319")),  # py-clob-client-v2 issue 99
        ("1", "0.07", "0.01", ("1", "14.2857")),  # py-sdk issue 291
        ("1", "0.76", "0.01", ("1", "1.3157")),
        ("1", "0.9", "0.1", ("1", "1.111")),
        ("5", "0.3333", "0.0001", ("5", "15.0015")),
        ("5", "0.50", "0.01", ("5", "10")),
    ],
)
def test_an_entry_has_so_many_shares(
    amount: str, limit: str, tick: str, expected: tuple[str, str]
) -> None:
    assert market_order_amounts(Side.BUY, usdc(amount), Decimal(limit), Decimal(tick)) == (
        usdc(expected[0]),
        shares(expected[1]),
    )


@pytest.mark.parametrize(
    ("amount", "limit", "tick", "expected"),
    [
        ("10.01", "0.123", "0.001", ("10", "1.23")),
        ("10.01", "0.001", "0.001", ("10", "0.01")),
        ("10.01", "0.12", "0.001", ("10.01", "1.2012")),
        ("10.99", "0.1234", "0.0001", ("10.5", "1.2957")),
        ("10.01", "0.58", "0.01", ("10.01", "5.8058")),
        # fewer shares than any exact amount has: the USDC are rounded up, never down to nothing
        ("0.01", "0.001", "0.001", ("0.01", "0.0001")),
        ("0.05", "0.123", "0.001", ("0.05", "0.0062")),
    ],
)
def test_an_exit_sells_what_its_limit_price_makes_exact(
    amount: str, limit: str, tick: str, expected: tuple[str, str]
) -> None:
    assert market_order_amounts(Side.SELL, shares(amount), Decimal(limit), Decimal(tick)) == (
        shares(expected[0]),
        usdc(expected[1]),
    )


@EVERY_TICK
@given(data=st.data(), cents=st.integers(100, 10**8))
def test_an_entry_keeps_the_decimals_and_reaches_no_price_beyond_its_limit(
    tick: Decimal, data: st.DataObject, cents: int
) -> None:
    limit = data.draw(prices(tick))

    making, taking = market_order_amounts(Side.BUY, cents * CENT, limit, tick)

    assert making == cents * CENT
    assert decimals(taking) <= MARKET_ORDER_DECIMALS
    # An ask at the limit is reached, and none at the next price, even if the tick becomes finer.
    next_price = limit + (FINEST_TICK if tick < Decimal("0.1") else Decimal("0.001"))
    assert limit * taking <= making < next_price * taking


@EVERY_TICK
@given(data=st.data(), hundredths=st.integers(1, 10**8))
def test_an_exit_keeps_the_decimals_and_is_never_below_its_limit(
    tick: Decimal, data: st.DataObject, hundredths: int
) -> None:
    limit = data.draw(prices(tick))

    making, taking = market_order_amounts(Side.SELL, hundredths * CENT, limit, tick)

    assert hundredths * CENT - MICROS < making <= hundredths * CENT
    assert making % CENT == 0
    assert decimals(taking) <= MARKET_ORDER_DECIMALS
    assert taking >= making * limit
    assert taking == making * limit or hundredths * CENT < MICROS


@EVERY_TICK
@given(data=st.data(), cents=st.integers(100, 10**5))
def test_an_entry_is_what_both_client_libraries_cut_to_four_decimals(
    tick: Decimal, data: st.DataObject, cents: int
) -> None:
    limit = data.draw(prices(tick))

    making, taking = market_order_amounts(Side.BUY, cents * CENT, limit, tick)

    by_sdk = _compute_market_order_amounts(
        amount=as_decimal(cents * CENT), price=limit, side="BUY", tick_size=tick
    )
    assert (making, taking) == (by_sdk[0], by_sdk[1] - by_sdk[1] % 100)
    _, by_client, shares_by_client = OrderBuilder.get_market_order_amounts(
        object.__new__(OrderBuilder),
        BUY,
        float(as_decimal(cents * CENT)),
        float(limit),
        ROUNDING_CONFIG[str(tick)],
    )
    # It computes with floats, which now and then lose a digit of the price, a cent, or a unit.
    assume(round_down(float(limit), ROUNDING_CONFIG[str(tick)].price) == float(limit))
    assume(making == by_client)
    assert abs(shares_by_client - taking) <= 2000
