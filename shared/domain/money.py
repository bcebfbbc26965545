"""Amounts in base units, and exact conversions between them."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

MICROS = 1_000_000
"""Base units of one USDC and of one share: both have six decimals on the chain."""

BASE_UNIT = Decimal("0.000001")

CENT = 10_000
"""Micro-USDC of a cent, and micro-shares of a hundredth of a share: the finest size that the venue
accepts (docs/venue-protocol.md, Orders)."""

ROUNDING_TOLERANCE_SHARES = 10_000
"""Micro-shares (a hundredth of a share): two reports of a fill that differ by no more agree.
The sources of a fill round differently, and so do the venue's reply to an order and its trades. No
order is as small."""

MIN_BUY_USDC = MICROS
"""The venue accepts no marketable BUY below $1 (docs/venue-protocol.md, Error texts)."""

MIN_REMAINDER_SHARES = 100_000
"""Micro-shares (a tenth of a share): a smaller remainder of an exit is not intended again."""


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


def micros(amount: Decimal) -> int:
    """Return the base units of ``amount``, without rounding.

    Raises: ValueError where it has a fraction of a base unit.
    """
    units = floor_micros(amount)
    if as_decimal(units) != amount:
        raise ValueError(f"{amount} has more than six decimals")
    return units


def floor_micros(amount: Decimal) -> int:
    """Return the base units of ``amount``, rounded down.

    Raises: decimal.InvalidOperation from 10^22 on, which is more than any real amount.
    """
    return int(amount.quantize(BASE_UNIT, rounding=ROUND_FLOOR).scaleb(6))


def as_decimal(amount: int) -> Decimal:
    """Return base units as whole USDC or shares."""
    return Decimal(amount).scaleb(-6)


def cost_floor(shares: int, price: Decimal) -> int:
    """Return what a seller of ``shares`` micro-shares gets at least: micro-USDC, rounded down."""
    return int((shares * price).to_integral_value(ROUND_FLOOR))


def cost_ceiling(shares: int, price: Decimal) -> int:
    """Return what a buyer of ``shares`` micro-shares pays at most: micro-USDC, rounded up."""
    return int((shares * price).to_integral_value(ROUND_CEILING))


def shares_for(usdc: int, price: Decimal) -> int:
    """Return the micro-shares that ``usdc`` micro-USDC buy at ``price``, rounded down."""
    return int((usdc / price).to_integral_value(ROUND_FLOOR))


def round_down(amount: int, step: int) -> int:
    """Return the largest multiple of ``step`` that is not above ``amount``."""
    return amount - amount % step
