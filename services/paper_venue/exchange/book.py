"""The order book of one market: its resting orders by price, then time, and the depth per price."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.paper_venue.exchange.orders import PRICE_ONE, Order, Side, is_dust


@dataclass(slots=True, kw_only=True)
class RestingOrder:
    """An order in the book. It keeps its place in the queue until it is filled."""

    order: Order
    remaining: int
    """Micro-shares that are still to be bought or sold."""
    given: int = 0
    """What it has given so far of its maker amount, in that unit: the exchange contract lets it
    give no more than it signed."""
    yes_price: int = field(init=False)
    """Its price in the unified book, in 1/10,000 USDC per YES share."""

    def __post_init__(self) -> None:
        self.yes_price = self.order.yes_price()

    @property
    def is_filled(self) -> bool:
        """Whether what remains is dust, which cannot fill another order."""
        return is_dust(self.tradable, self.yes_price)

    @property
    def tradable(self) -> int:
        """Micro-shares of ``remaining`` that it can still trade. A buyer gets whole base units for
        what he pays, so each fill may leave his last share a little short of money.
        """
        if self.order.side is Side.SELL:
            return self.remaining
        left = self.order.maker_amount - self.given
        return min(self.remaining, left * self.order.taker_amount // self.order.maker_amount)

    @property
    def matched(self) -> int:
        """Micro-shares that have traded."""
        return self.order.shares - self.remaining


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One price of one token's book, with the micro-shares of all orders there."""

    price: int
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChange:
    """The new depth of one price of the unified book; 0 shares: the level no longer exists."""

    is_bid: bool
    yes_price: int
    shares: int


class _BookSide:
    """The bids or the asks: prices ascending; orders of one price in order of arrival."""

    def __init__(self) -> None:
        self.prices: list[int] = []
        self.queues: dict[int, dict[str, RestingOrder]] = {}
        self.depths: dict[int, int] = {}

    def add(self, resting: RestingOrder) -> None:
        price = resting.yes_price
        if price not in self.queues:
            insort(self.prices, price)
            self.queues[price] = {}
            self.depths[price] = 0
        self.queues[price][resting.order.id] = resting
        self.depths[price] += resting.remaining

    def reduce(self, resting: RestingOrder, shares: int, given: int) -> None:
        resting.remaining -= shares
        resting.given += given
        self.depths[resting.yes_price] -= shares

    def remove(self, resting: RestingOrder) -> None:
        price = resting.yes_price
        queue = self.queues[price]
        del queue[resting.order.id]
        self.depths[price] -= resting.remaining
        if not queue:
            del self.queues[price], self.depths[price]
            del self.prices[bisect_left(self.prices, price)]


class Book:
    """The unified book of a condition. A NO order is kept as a YES order at 1 - price."""

    def __init__(self) -> None:
        self._bids = _BookSide()
        self._asks = _BookSide()

    def _side(self, *, is_bid: bool) -> _BookSide:
        return self._bids if is_bid else self._asks

    def add(self, resting: RestingOrder) -> LevelChange:
        is_bid = resting.order.is_bid
        self._side(is_bid=is_bid).add(resting)
        return self._level_change(resting, is_bid=is_bid)

    def reduce(self, resting: RestingOrder, shares: int, given: int) -> LevelChange:
        """Take filled micro-shares off a resting order, which gave ``given`` of its maker unit."""
        is_bid = resting.order.is_bid
        self._side(is_bid=is_bid).reduce(resting, shares, given)
        return self._level_change(resting, is_bid=is_bid)

    def remove(self, resting: RestingOrder) -> LevelChange:
        is_bid = resting.order.is_bid
        self._side(is_bid=is_bid).remove(resting)
        return self._level_change(resting, is_bid=is_bid)

    def opposite_orders(self, order: Order) -> Iterator[RestingOrder]:
        """The resting orders of the other side: best price first, then the oldest."""
        ladder = self._side(is_bid=not order.is_bid)
        for price in ladder.prices if order.is_bid else reversed(ladder.prices):
            yield from ladder.queues[price].values()

    def bids(self, outcome_index: int) -> list[Level]:
        """A token's bids, lowest price first, as the venue lists them: the best is the last."""
        if outcome_index == 0:
            return [Level(price=p, shares=self._bids.depths[p]) for p in self._bids.prices]
        return [
            Level(price=PRICE_ONE - p, shares=self._asks.depths[p])
            for p in reversed(self._asks.prices)
        ]

    def asks(self, outcome_index: int) -> list[Level]:
        """A token's asks, highest price first, as the venue lists them: the best is the last."""
        if outcome_index == 0:
            return [
                Level(price=p, shares=self._asks.depths[p]) for p in reversed(self._asks.prices)
            ]
        return [Level(price=PRICE_ONE - p, shares=self._bids.depths[p]) for p in self._bids.prices]

    def best_bid(self, outcome_index: int) -> int | None:
        """The outcome's highest bid, in 1/10,000 USDC per share; None: there are no bids."""
        prices = self._bids.prices if outcome_index == 0 else self._asks.prices
        if not prices:
            return None
        return prices[-1] if outcome_index == 0 else PRICE_ONE - prices[0]

    def best_ask(self, outcome_index: int) -> int | None:
        """The outcome's lowest ask, in 1/10,000 USDC per share; None: there are no asks."""
        mirrored = self.best_bid(1 - outcome_index)
        return None if mirrored is None else PRICE_ONE - mirrored

    def _level_change(self, resting: RestingOrder, *, is_bid: bool) -> LevelChange:
        depth = self._side(is_bid=is_bid).depths.get(resting.yes_price, 0)
        return LevelChange(is_bid=is_bid, yes_price=resting.yes_price, shares=depth)
