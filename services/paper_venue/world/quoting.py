"""What should the market makers have in a market's book now, and where does its price walk?"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.paper_venue.exchange.orders import PRICE_ONE, Side
from services.paper_venue.world.generator import MarketPlan

_MS = 1_000
_LONGEST_STEP_MS = 1_000
"""Between two looks at the clock; where it leaps by more, it was set, and no time has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the unified book: a side and a price of YES, in 1/10,000 USDC."""

    is_bid: bool
    yes_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a market maker keeps at one place. ``maker`` numbers the market makers, two of them;
    ``shares`` in micro-shares.
    """

    maker: int
    outcome: int
    side: Side
    price: int
    shares: int


def ladder(plan: MarketPlan, mid: int, *, shares: int) -> dict[Place, Quote]:
    """The plan's levels on both sides of ``mid``, best first: ``shares`` micro-shares at the best
    of a deep book, and more behind.

    Every second price stands as its mirror on the other outcome, so that takers meet sellers,
    buyers to mint with and sellers to merge with. A price keeps its side of that when the mid
    moves: what stands there already may stay.
    """
    quotes = {}
    for level in range(1, plan.levels + 1):
        deep = shares * plan.depth_percent // 100 * (1 + level // 2)
        for is_bid, price in ((True, mid - plan.tick * level), (False, mid + plan.tick * level)):
            if plan.tick <= price <= PRICE_ONE - plan.tick:
                quotes[Place(is_bid=is_bid, yes_price=price)] = _quote(
                    plan, price, deep, is_bid=is_bid
                )
    return quotes


def _quote(plan: MarketPlan, price: int, shares: int, *, is_bid: bool) -> Quote:
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


def nudged(plan: MarketPlan, mid: int, ticks: int) -> int:
    """The mid so many ticks on; it does not leave the plan's band."""
    return min(max(mid + ticks * plan.tick, plan.lowest), plan.highest)


def pressure(best_left: Mapping[bool, int], best_wanted: int) -> int:
    """Which way the takers push the price, in ticks: a side whose best quote is eaten by more than
    half gives way.
    """
    eaten = {is_bid: left * 2 < best_wanted for is_bid, left in best_left.items()}
    return eaten.get(False, False) - eaten.get(True, False)


class Drift:
    """A seeded random walk over all markets: ``per_second`` moves by one tick, shared by all; by
    time alone, so it costs what it says.
    """

    def __init__(self, seed: int, *, markets: int, per_second: Decimal, now_ms: int) -> None:
        self._chance = random.Random(f"{seed}:drift")  # noqa: S311
        self._markets = markets
        self._per_second = per_second
        self._since_ms = self._seen_ms = now_ms
        self._made = 0

    def moves(self, now_ms: int) -> list[tuple[int, int]]:
        """(market index, ticks: -1 or 1) of each move that is due by now."""
        passed_ms, self._seen_ms = now_ms - self._seen_ms, now_ms
        if not 0 <= passed_ms <= _LONGEST_STEP_MS:
            self._since_ms += passed_ms
        due = int((now_ms - self._since_ms) * self._per_second / _MS)
        moves = [
            (self._chance.randrange(self._markets), self._chance.choice((-1, 1)))
            for _ in range(due - self._made)
        ]
        self._made = max(due, self._made)
        return moves
