"""Amounts in base units, and how they become one another without losing a unit."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

MICROS = 1_000_000
"""Base units of one USDC and of one share: both have six decimals on the chain."""

BASE_UNIT = Decimal("0.000001")

CENT = 10_000
"""Micro-USDC of a cent; also a hundredth of a share: the finest size that the venue accepts
(docs/venue-protocol.md, Orders)."""


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


def micros(amount: Decimal) -> int:
    """The base units of ``amount``. Raises: ValueError where it has a fraction of a base unit;
    nothing is rounded in silence.
    """
    units = floor_micros(amount)
    if as_decimal(units) != amount:
        raise ValueError(f"{amount} has more than six decimals")
    return units


def floor_micros(amount: Decimal) -> int:
    """The base units of ``amount``, a fraction of a unit cut off. Raises: decimal.InvalidOperation
    from 10^22 on, which no amount is.
    """
    return int(amount.quantize(BASE_UNIT, rounding=ROUND_FLOOR).scaleb(6))


def as_decimal(amount: int) -> Decimal:
    """Base units as whole USDC or shares."""
    return Decimal(amount).scaleb(-6)


def cost_floor(shares: int, price: Decimal) -> int:
    """Micro-USDC of ``shares`` micro-shares at ``price``, rounded down: what a seller can count on."""
    return int((shares * price).to_integral_value(ROUND_FLOOR))


def cost_ceiling(shares: int, price: Decimal) -> int:
    """Micro-USDC of ``shares`` micro-shares at ``price``, rounded up: what a buyer must be able to
    pay.
    """
    return int((shares * price).to_integral_value(ROUND_CEILING))


def shares_for(usdc: int, price: Decimal) -> int:
    """Micro-shares that ``usdc`` micro-USDC buy at ``price``, rounded down."""
    return int((usdc / price).to_integral_value(ROUND_FLOOR))


def round_down(amount: int, step: int) -> int:
    """``amount`` without what goes over a multiple of ``step``."""
    return amount - amount % step
