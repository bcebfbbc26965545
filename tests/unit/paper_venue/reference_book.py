"""A second, simple implementation of the matching rules, which the engine is tested against.

It is written to be read: a list of orders and exact fractions, without indexes.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from services.paper_venue.exchange.orders import Order, OrderKind, Side

DUST = 1_000
"""Base units up to which a remainder counts as filled."""
MAX_FILLS = 50


@dataclass
class OpenOrder:
    order: Order
    remaining: int
    given: int = 0
    """What it has given so far, in its maker unit."""

    @property
    def tradable(self) -> int:
        """A buyer's last shares may be a little short of money: he pays no more than he signed."""
        if self.order.side is Side.SELL:
            return self.remaining
        price = Fraction(self.order.collateral, self.order.shares)
        return min(self.remaining, floor((self.order.maker_amount - self.given) / price))


@dataclass(frozen=True)
class Expected:
    """What should happen to an order.

    ``fills`` are (maker's order id, micro-shares, the maker's micro-USDC) in matching order;
    ``resting_shares`` are the micro-shares that rest in the book.
    """

    fills: tuple[tuple[str, int, int], ...]
    own_orders: tuple[str, ...]
    """Ids of its own wallet's orders that it meets, which are cancelled."""
    is_killed: bool
    resting_shares: int
    given: int
    """What the order itself gives now, in its maker unit."""


@dataclass
class ReferenceBook:
    """The open orders of all markets, oldest first."""

    orders: list[OpenOrder] = field(default_factory=list)

    def expect(self, order: Order) -> Expected:
        """What should happen to an order now; changes nothing."""
        remaining = order.maker_amount if spends(order) else order.shares
        fills: list[tuple[str, int, int]] = []
        given = 0
        own_orders: list[str] = []
        for resting in self._matchable_orders(order):
            if remaining <= DUST or len(fills) == MAX_FILLS:
                break
            if resting.order.maker == order.maker:
                own_orders.append(resting.order.id)
                continue
            price = price_for(order, resting.order)
            shares, maker_usdc = _traded(
                resting.order,
                min(resting.tradable, floor(remaining / price) if spends(order) else remaining),
            )
            taker_usdc = (
                maker_usdc if resting.order.token_id == order.token_id else shares - maker_usdc
            )
            if min(shares, maker_usdc, taker_usdc) <= 0:
                break
            fills.append((resting.order.id, shares, maker_usdc))
            remaining -= taker_usdc if spends(order) else shares
            given += taker_usdc if order.side is Side.BUY else shares
        is_unfilled = remaining > DUST if order.kind is OrderKind.FOK else not fills
        resting_shares = (
            remaining
            if order.kind.may_rest and len(fills) < MAX_FILLS and not is_dust(order, remaining)
            else 0
        )
        return Expected(
            tuple(fills),
            tuple(own_orders),
            is_killed=not order.kind.may_rest and is_unfilled,
            resting_shares=resting_shares,
            given=given,
        )

    def carry_out(self, order: Order, expected: Expected) -> None:
        for maker_id, shares, maker_usdc in expected.fills:
            maker = next(resting for resting in self.orders if resting.order.id == maker_id)
            maker.remaining -= shares
            maker.given += maker_usdc if maker.order.side is Side.BUY else shares
        removed = {
            resting.order.id for resting in self.orders if is_dust(resting.order, resting.tradable)
        } | set(expected.own_orders)
        self.remove(removed)
        if expected.resting_shares:
            self.orders.append(OpenOrder(order, expected.resting_shares, expected.given))

    def remove(self, ids: set[str]) -> None:
        self.orders = [resting for resting in self.orders if resting.order.id not in ids]

    def _matchable_orders(self, order: Order) -> list[OpenOrder]:
        """The open orders within its limit: best price first, and of one price the oldest."""
        same_market = [
            resting
            for resting in self.orders
            if resting.order.market.condition_id == order.market.condition_id
        ]
        opposite = [
            resting for resting in same_market if wants_yes(resting.order) != wants_yes(order)
        ]
        if order.side is Side.BUY:
            acceptable = [
                s
                for s in opposite
                if price_for(order, s.order) <= Fraction(order.maker_amount, order.taker_amount)
            ]
            return sorted(acceptable, key=lambda s: price_for(order, s.order))
        acceptable = [
            s
            for s in opposite
            if price_for(order, s.order) >= Fraction(order.taker_amount, order.maker_amount)
        ]
        return sorted(acceptable, key=lambda s: -price_for(order, s.order))


def spends(order: Order) -> bool:
    """Whether it spends an amount of USDC, rather than buys a number of shares."""
    return order.side is Side.BUY and order.kind in (OrderKind.FOK, OrderKind.FAK)


def wants_yes(order: Order) -> bool:
    """Whether it buys YES or, which is the same, sells NO."""
    return (order.token_id == order.market.token_ids[0]) == (order.side is Side.BUY)


def price_for(taker: Order, maker: Order) -> Fraction:
    """The price of a share of the taker's token at this resting order."""
    limit = Fraction(maker.collateral, maker.shares)
    return limit if maker.token_id == taker.token_id else 1 - limit


def is_dust(order: Order, remaining: int) -> bool:
    price = Fraction(order.collateral, order.shares)
    return remaining <= DUST or remaining * min(price, 1 - price) < 1


def _traded(maker: Order, max_shares: int) -> tuple[int, int]:
    """(micro-shares, micro-USDC) that a resting order trades for at most ``max_shares``: what it
    gets is by its limit price, rounded down.
    """
    price = Fraction(maker.collateral, maker.shares)
    if maker.side is Side.SELL:
        return max_shares, floor(max_shares * price)
    paid = floor(max_shares * price)
    return floor(paid / price), paid
