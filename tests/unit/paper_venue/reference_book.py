"""The matching rules once more, written for the eye: a list of orders, exact fractions, no index.
The engine is judged by it.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from services.paper_venue.exchange.orders import Order, OrderKind, Side

DUST = 1_000
"""Base units that count as nothing left."""
MAX_FILLS = 50


@dataclass
class OpenOrder:
    order: Order
    remaining: int


@dataclass(frozen=True)
class Expected:
    """What should happen to an order: (maker's id, micro-shares, the maker's micro-USDC) in turn,
    and what is left of it.
    """

    fills: tuple[tuple[str, int, int], ...]
    own_orders: tuple[str, ...]
    """Its wallet's own orders, which give way."""
    is_killed: bool
    resting_shares: int


@dataclass
class ReferenceBook:
    """All orders of all markets, oldest first."""

    orders: list[OpenOrder] = field(default_factory=list)

    def expect(self, order: Order) -> Expected:
        """What should happen to it now; changes nothing."""
        left = order.maker_amount if spends(order) else order.shares
        fills: list[tuple[str, int, int]] = []
        passed: list[str] = []
        for standing in self._matchable_orders(order):
            if left <= DUST or len(fills) == MAX_FILLS:
                break
            if standing.order.maker == order.maker:
                passed.append(standing.order.id)
                continue
            price = price_for(order, standing.order)
            shares, maker_money = _traded(
                standing.order,
                min(standing.remaining, floor(left / price) if spends(order) else left),
            )
            taker_money = (
                maker_money if standing.order.token_id == order.token_id else shares - maker_money
            )
            if min(shares, maker_money, taker_money) <= 0:
                break
            fills.append((standing.order.id, shares, maker_money))
            left -= taker_money if spends(order) else shares
        is_short = left > DUST if order.kind is OrderKind.FOK else not fills
        rests = (
            left
            if order.kind.may_rest and len(fills) < MAX_FILLS and not is_dust(order, left)
            else 0
        )
        return Expected(
            tuple(fills),
            tuple(passed),
            is_killed=not order.kind.may_rest and is_short,
            resting_shares=rests,
        )

    def carry_out(self, order: Order, expected: Expected) -> None:
        for maker_id, shares, _ in expected.fills:
            maker = next(standing for standing in self.orders if standing.order.id == maker_id)
            maker.remaining -= shares
        gone = {
            standing.order.id
            for standing in self.orders
            if is_dust(standing.order, standing.remaining)
        } | set(expected.own_orders)
        self.remove(gone)
        if expected.resting_shares:
            self.orders.append(OpenOrder(order, expected.resting_shares))

    def remove(self, ids: set[str]) -> None:
        self.orders = [standing for standing in self.orders if standing.order.id not in ids]

    def _matchable_orders(self, order: Order) -> list[OpenOrder]:
        """Whom its limit lets it trade with: best price first, and of one price the oldest."""
        same_market = [
            standing
            for standing in self.orders
            if standing.order.market.condition_id == order.market.condition_id
        ]
        willing = [
            standing for standing in same_market if wants_yes(standing.order) != wants_yes(order)
        ]
        if order.side is Side.BUY:
            reached = [
                s
                for s in willing
                if price_for(order, s.order) <= Fraction(order.maker_amount, order.taker_amount)
            ]
            return sorted(reached, key=lambda s: price_for(order, s.order))
        reached = [
            s
            for s in willing
            if price_for(order, s.order) >= Fraction(order.taker_amount, order.maker_amount)
        ]
        return sorted(reached, key=lambda s: -price_for(order, s.order))


def spends(order: Order) -> bool:
    """Whether it asks for as many shares as its USDC buy, and not for a number of shares."""
    return order.side is Side.BUY and order.kind in (OrderKind.FOK, OrderKind.FAK)


def wants_yes(order: Order) -> bool:
    """Who sells NO hopes for YES."""
    return (order.token_id == order.market.token_ids[0]) == (order.side is Side.BUY)


def price_for(taker: Order, maker: Order) -> Fraction:
    """What a share of the taker's token costs at this resting order."""
    limit = Fraction(maker.collateral, maker.shares)
    return limit if maker.token_id == taker.token_id else 1 - limit


def is_dust(order: Order, left: int) -> bool:
    price = Fraction(order.collateral, order.shares)
    return left <= DUST or left * min(price, 1 - price) < 1


def _traded(maker: Order, wanted: int) -> tuple[int, int]:
    """(micro-shares, micro-USDC) of a resting order: it gives what is wanted, and gets its limit
    for it, rounded down.
    """
    price = Fraction(maker.collateral, maker.shares)
    if maker.side is Side.SELL:
        return wanted, floor(wanted * price)
    paid = floor(wanted * price)
    return floor(paid / price), paid
