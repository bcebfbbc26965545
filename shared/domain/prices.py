"""Compares prices in basis points, and computes limit prices on a market's tick grid."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from shared.domain.money import Side

BPS = Decimal(10_000)


def adverse_bps(side: Side, *, reference: Decimal, offered: Decimal) -> Decimal:
    """Return how much worse ``offered`` is than ``reference`` for this side.

    In basis points of ``reference``; negative where it is better.
    """
    worse_by = offered - reference if side is Side.BUY else reference - offered
    return worse_by / reference * BPS


def spread_bps(*, bid: Decimal, ask: Decimal) -> Decimal:
    """Return the distance between the two best prices in basis points of their middle, which is
    above 0; 20,000 where nobody bids.
    """
    return (ask - bid) / ((ask + bid) / 2) * BPS


def limit_price(
    side: Side, *, reference: Decimal, slippage_bps: Decimal, tick: Decimal
) -> Decimal | None:
    """Return the worst price that is at most ``slippage_bps`` worse than ``reference``.

    It is a multiple of ``tick`` within [tick, 1 - tick]. None: there is no such price, because the
    reference is outside of the grid, as in a market whose tick has grown.
    """
    allowed = slippage_bps / BPS
    if side is Side.BUY:
        limit = min(_on_grid(reference * (1 + allowed), tick, ROUND_FLOOR), 1 - tick)
        return limit if limit >= tick else None
    limit = max(_on_grid(reference * (1 - allowed), tick, ROUND_CEILING), tick)
    return limit if limit <= 1 - tick else None


def floor_to_tick(price: Decimal, tick: Decimal) -> Decimal:
    """Return the highest multiple of ``tick`` that is not above the price."""
    return _on_grid(price, tick, ROUND_FLOOR)


def _on_grid(price: Decimal, tick: Decimal, rounding: str) -> Decimal:
    return (price / tick).to_integral_value(rounding) * tick
