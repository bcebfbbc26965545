"""An order book, and what buying from it or selling into it would cost now."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from shared.domain.money import Side, cost_ceiling, cost_floor, shares_for

GHOST_BID, GHOST_ASK = Decimal("0.01"), Decimal("0.99")
"""The best prices of the books that the venue has served for markets that trade elsewhere
(py-clob-client issue 180). A market that really stands there has no price either."""


class BookFault(StrEnum):
    """Why a book of the venue is not used."""

    CROSSED = "crossed"
    """Its best bid is not below its best ask."""
    GHOST = "ghost"
    """There is nothing between 0.01 and 0.99."""
    DIVERGED = "diverged"
    """The book that is kept from the market channel has other best levels than the venue names."""


@dataclass(frozen=True, slots=True)
class Level:
    price: Decimal
    shares: int
    """Micro-shares offered at this price."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What taking from the book would give; ``levels`` are those that it takes, best first."""

    levels: tuple[Level, ...]
    shares: int
    usdc: int
    """Micro-USDC paid (rounded up) or received (rounded down), without fees."""
    complete: bool
    """Whether the book has enough for the whole amount."""

    @property
    def best(self) -> Decimal:
        return self.levels[0].price

    @property
    def worst(self) -> Decimal:
        return self.levels[-1].price


def best_first(side: Side, levels: Iterable[Level]) -> tuple[Level, ...]:
    """Return the levels that an order of ``side`` takes from, best price first.

    They are sorted by value: the venue lists them worst first (B-09).
    """
    return tuple(
        sorted(
            (level for level in levels if level.shares > 0),
            key=lambda level: level.price,
            reverse=side is Side.SELL,
        )
    )


def find_fault(bids: tuple[Level, ...], asks: tuple[Level, ...]) -> BookFault | None:
    """Return why the levels (best first) are no prices; None: they are, or one side is empty."""
    if not bids or not asks:
        return None
    bid, ask = bids[0].price, asks[0].price
    if bid >= ask:
        return BookFault.CROSSED
    return BookFault.GHOST if bid <= GHOST_BID and ask >= GHOST_ASK else None


def spend(asks: tuple[Level, ...], usdc: int) -> Walk | None:
    """Buy with ``usdc`` micro-USDC from ``asks`` (best first). None: nothing can be bought."""
    taken: list[Level] = []
    left, shares = usdc, 0
    for ask in asks:
        affordable = min(ask.shares, shares_for(left, ask.price))
        if affordable == 0:
            break
        taken.append(Level(ask.price, affordable))
        shares += affordable
        left -= cost_ceiling(affordable, ask.price)
        if affordable < ask.shares:
            return Walk(tuple(taken), shares, usdc - left, complete=True)
    return _walk_or_none(
        taken, shares, usdc - left, complete=bool(taken) and shares_for(left, taken[-1].price) == 0
    )


def sell(bids: tuple[Level, ...], shares: int) -> Walk | None:
    """Sell ``shares`` micro-shares into ``bids`` (best first). None: nothing can be sold."""
    taken: list[Level] = []
    left, usdc = shares, 0
    for bid in bids:
        given = min(bid.shares, left)
        if given == 0:
            break
        taken.append(Level(bid.price, given))
        usdc += cost_floor(given, bid.price)
        left -= given
    return _walk_or_none(taken, shares - left, usdc, complete=left == 0)


def _walk_or_none(taken: list[Level], shares: int, usdc: int, *, complete: bool) -> Walk | None:
    return Walk(tuple(taken), shares, usdc, complete) if taken else None
