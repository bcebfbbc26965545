"""Computes the quotes that market makers keep around a price, and how that price moves."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.paper_venue.exchange.orders import PRICE_ONE, Side
from services.paper_venue.world.market_plans import MarketPlan

_MS = 1_000
_MAX_STEP_MS = 1_000
"""Between two calls. A clock that moves by more was set: no time counts as passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelKey:
    """A level of the unified book: its side, and its price as a price of YES in 1/10,000 USDC."""

    is_bid: bool
    yes_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The order that a market maker keeps at one level. ``maker``: 0 or 1, which of the two market
    makers; ``shares`` in micro-shares.
    """

    maker: int
    outcome: int
    side: Side
    price: int
    shares: int


def build_ladder(plan: MarketPlan, mid: int, *, shares: int) -> dict[LevelKey, Quote]:
    """The quotes on both sides of ``mid``, best first: ``shares`` micro-shares at the best level of
    a deep book, and more at the levels behind.

    Every second price is quoted as an order on the other outcome, so that takers meet direct
    sellers, buyers to mint with and sellers to merge with. Which outcome a price is quoted on does
    not depend on the mid: when the mid moves, orders that are still needed can stay.
    """
    quotes = {}
    for level in range(1, plan.levels + 1):
        deep = shares * plan.depth_percent // 100 * (1 + level // 2)
        for is_bid, price in ((True, mid - plan.tick * level), (False, mid + plan.tick * level)):
            if plan.tick <= price <= PRICE_ONE - plan.tick:
                quotes[LevelKey(is_bid=is_bid, yes_price=price)] = _build_quote(
                    plan, price, deep, is_bid=is_bid
                )
    return quotes


def _build_quote(plan: MarketPlan, price: int, shares: int, *, is_bid: bool) -> Quote:
    if price // plan.tick % 2:
        return Quote(
            maker=0, outcome=0, side=Side.BUY if is_bid else Side.SELL, price=price, shares=shares
        )
    return Quote(
        maker=1,
        outcome=1,
        side=Side.SELL if is_bid else Side.BUY,
        price=PRICE_ONE - price,
        shares=shares,
    )


def move_mid(plan: MarketPlan, mid: int, ticks: int) -> int:
    """The mid, moved by so many ticks, within the plan's minimum and maximum."""
    return min(max(mid + ticks * plan.tick, plan.min_mid), plan.max_mid)


def price_pressure(remaining_by_side: Mapping[bool, int], target: int) -> int:
    """By how many ticks takers push the price: -1, 0 or 1. The price moves away from a side whose
    best quote has less than half of its ``target`` shares left.

    ``remaining_by_side``: shares left of the best quote, by whether it is a bid; a side that has
    none yet is missing.
    """
    is_taken = {is_bid: left * 2 < target for is_bid, left in remaining_by_side.items()}
    return is_taken.get(False, False) - is_taken.get(True, False)


class PriceDrift:
    """A seeded random walk of the prices: ``per_second`` moves by one tick, over all markets
    together. It depends on time alone, not on how often it is asked.
    """

    def __init__(self, seed: int, *, markets: int, per_second: Decimal, now_ms: int) -> None:
        self._rng = random.Random(f"{seed}:drift")  # noqa: S311
        self._markets = markets
        self._per_second = per_second
        self._started_ms = self._last_ms = now_ms
        self._moves_made = 0

    def due_moves(self, now_ms: int) -> list[tuple[int, int]]:
        """(market index, ticks: -1 or 1) of each move that is due by now."""
        passed_ms, self._last_ms = now_ms - self._last_ms, now_ms
        if not 0 <= passed_ms <= _MAX_STEP_MS:
            self._started_ms += passed_ms
        due = int((now_ms - self._started_ms) * self._per_second / _MS)
        moves = [
            (self._rng.randrange(self._markets), self._rng.choice((-1, 1)))
            for _ in range(due - self._moves_made)
        ]
        self._moves_made = max(due, self._moves_made)
        return moves
