"""The two amounts of a market order: what it gives, and what it wants at least. Pure.

What the venue checks is the accuracy of the amounts: of a market order "maker amount supports a max
accuracy of 2 decimals, taker amount a max of 4 decimals" (issues py-clob-client-v2#99 at tick
0.001, py-clob-client#121 for a SELL). The official SDK keeps the tick's decimals plus two, 5 or 6
at fine ticks; reports of what is accepted there differ (rs-clob-client#164), and four meet both.

The venue takes the order's price to be the ratio of the amounts, and matches only what is at least
as good. So no rounding may make the order better than its limit: it could not match at the limit
(issue py-sdk#291).
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import gcd

from shared.domain.money import CENT, Side, round_down

MARKET_ORDER_DECIMALS = 4
"""Decimals of the taker amount that every report accepts."""
COARSEST_TICK = Decimal("0.1")
"""Its decimals plus two are three: fewer than the venue's own limit."""

_FINEST_UNIT = 10 ** (6 - MARKET_ORDER_DECIMALS)
_PRICE_UNITS = 10_000
"""Prices in units of the finest tick are integers."""


def market_order_amounts(
    side: Side, amount: int, limit_price: Decimal, tick: Decimal
) -> tuple[int, int]:
    """Return maker and taker amount in base units.

    A BUY spends ``amount`` micro-USDC, a SELL gives at most ``amount`` micro-shares. Either may be
    0 where the amount is too small; such an order is not valid.
    """
    amount = round_down(amount, CENT)
    unit = 10 * _FINEST_UNIT if tick == COARSEST_TICK else _FINEST_UNIT
    return _buy(amount, limit_price, unit) if side is Side.BUY else _sell(amount, limit_price, unit)


def _buy(usdc: int, limit_price: Decimal, unit: int) -> tuple[int, int]:
    """Round the shares down, as the SDK does.

    The price is then a hair above the limit: of a dollar at 0.76, 0.76005. From a dollar on it is
    below the next price of the finest grid, so that no ask beyond the limit is reached.
    """
    return usdc, round_down(int((usdc / limit_price).to_integral_value(ROUND_FLOOR)), unit)


def _sell(shares: int, limit_price: Decimal, unit: int) -> tuple[int, int]:
    """Give as many shares as make the USDC exact: less than one share stays behind.

    Where there are fewer than that, the USDC are rounded up: down would be below the limit, and
    could be nothing.
    """
    price = int(limit_price * _PRICE_UNITS)
    exact = round_down(shares, CENT * (unit // gcd(price, unit)))
    if exact:
        return exact, exact * price // _PRICE_UNITS
    wanted = (shares * limit_price / unit).to_integral_value(ROUND_CEILING)
    return shares, int(wanted) * unit
