"""Matches one incoming order against the book: which resting orders fill it, how far, and the fee.

Amounts are integers of base units. A resting order's own ratio sets the price: what it gets is
``floor(what it gives * its taker amount / its maker amount)``, as the exchange contract computes
it; so the incoming order always pays at most, and gets at least, what it signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from services.paper_venue.exchange.book import Book, RestingOrder
from services.paper_venue.exchange.orders import FILL_TOLERANCE, PRICE_ONE, Market, Order, Side

_FEE_STEP = Decimal(10)
"""Micro-USDC: the venue rounds a fee to five decimals of a USDC."""

MAX_FILLS = 50
"""The most resting orders in one settlement transaction (seen live, 2026-09)."""


class MatchKind(StrEnum):
    COMPLEMENTARY = "complementary"
    """A buyer and a seller of the same token."""
    MINT = "mint"
    """Buyers of the two outcomes: their USDC is split into a YES and a NO share each."""
    MERGE = "merge"
    """Sellers of the two outcomes: their YES and NO shares are merged into USDC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One resting order's part in a match."""

    resting: RestingOrder
    maker: Order
    kind: MatchKind
    price: int
    """Per share of the incoming order's token, in 1/10,000 USDC."""
    shares: int
    """Micro-shares that each of the two orders trades."""
    maker_collateral: int
    """Micro-USDC that the resting order pays or gets."""

    @property
    def fill_amount(self) -> int:
        """What the resting order gives, in its own maker unit: the exchange contract's fill
        amount.
        """
        return self.maker_collateral if self.maker.side is Side.BUY else self.shares

    @property
    def taker_collateral(self) -> int:
        """Micro-USDC that the incoming order pays or gets for these shares, before the fee."""
        return (
            self.maker_collateral
            if self.kind is MatchKind.COMPLEMENTARY
            else self.shares - self.maker_collateral
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An incoming order and its fills in matching order; ``fills`` may be empty."""

    taker: Order
    fills: tuple[Fill, ...] = ()
    own_orders: tuple[RestingOrder, ...] = ()
    """Resting orders of the taker's own wallet that it met: they are cancelled, as no wallet trades
    with itself."""

    @property
    def shares(self) -> int:
        return sum(fill.shares for fill in self.fills)

    @property
    def collateral(self) -> int:
        """Micro-USDC that the incoming order pays or gets, before the fee."""
        return sum(fill.taker_collateral for fill in self.fills)

    @property
    def making_amount(self) -> int:
        """What the incoming order gives: micro-USDC for a BUY, micro-shares for a SELL."""
        return self.collateral if self.taker.side is Side.BUY else self.shares

    @property
    def taking_amount(self) -> int:
        """What the incoming order gets: micro-shares for a BUY, micro-USDC for a SELL."""
        return self.shares if self.taker.side is Side.BUY else self.collateral

    @property
    def is_capped(self) -> bool:
        """Whether it has as many fills as one transaction can settle, and might have met more."""
        return len(self.fills) == MAX_FILLS

    @property
    def fee(self) -> int:
        return taker_fee(self.taker.market, self.fills)

    @property
    def is_complete(self) -> bool:
        """Whether an order that may not rest is completely filled: a buyer has spent his amount, a
        seller has sold his shares.
        """
        return self.taker.maker_amount - self.making_amount <= FILL_TOLERANCE


def taker_fee(market: Market, fills: Sequence[Fill]) -> int:
    """Micro-USDC: the sum of ``shares * rate * p * (1 - p)`` over the fills, rounded to five
    decimals of a USDC.
    """
    weighted = sum(fill.shares * fill.price * (PRICE_ONE - fill.price) for fill in fills)
    exact = market.fee_rate * weighted / (PRICE_ONE * PRICE_ONE)
    return int((exact / _FEE_STEP).quantize(Decimal(1), rounding=ROUND_HALF_UP) * _FEE_STEP)


def match(order: Order, book: Book, *, divisor: int = 1) -> Match:
    """The match that this order, or its ``divisor``-th part, would make now. Changes nothing.

    Resting orders of the order's own wallet are skipped and returned in ``own_orders``, to be
    cancelled. The venue's perpetuals do so ("CancelMaker", docs.polymarket.com, self-trade
    prevention); what its prediction markets do is not documented.
    """
    fills: list[Fill] = []
    own: list[RestingOrder] = []
    open_quantity = _OpenQuantity(order, divisor)
    for resting in book.opposite_orders(order):
        price = open_quantity.acceptable_price(resting)
        if price is None or len(fills) == MAX_FILLS:
            break
        if resting.order.maker == order.maker:
            own.append(resting)
            continue
        fill = open_quantity.build_fill(resting, price)
        if fill is None:
            break
        fills.append(fill)
        open_quantity.subtract(fill)
    return Match(taker=order, fills=tuple(fills), own_orders=tuple(own))


class _OpenQuantity:
    """What remains to be filled of an incoming order.

    In micro-USDC for a BUY that may not rest (it spends an amount), in micro-shares otherwise.
    """

    def __init__(self, order: Order, divisor: int) -> None:
        self._order = order
        self._is_no = order.outcome_index == 1
        self._by_collateral = order.side is Side.BUY and not order.kind.may_rest
        self._remaining = (order.maker_amount if self._by_collateral else order.shares) // divisor

    def subtract(self, fill: Fill) -> None:
        self._remaining -= fill.taker_collateral if self._by_collateral else fill.shares

    def acceptable_price(self, resting: RestingOrder) -> int | None:
        """The price per share at this resting order. None: worse than the limit, or nothing remains
        to be filled.
        """
        price = PRICE_ONE - resting.yes_price if self._is_no else resting.yes_price
        return price if self._remaining > FILL_TOLERANCE and self._order.accepts(price) else None

    def build_fill(self, resting: RestingOrder, price: int) -> Fill | None:
        """The fill by this resting order. None: what remains is worth less than a base unit."""
        maker = resting.order
        affordable = (
            self._remaining * PRICE_ONE // price if self._by_collateral else self._remaining
        )
        shares, collateral = _amounts(maker, min(affordable, resting.tradable))
        fill = Fill(
            resting=resting,
            maker=maker,
            kind=_kind(self._order, maker),
            price=price,
            shares=shares,
            maker_collateral=collateral,
        )
        return (
            fill
            if fill.shares > 0 and fill.maker_collateral > 0 and fill.taker_collateral > 0
            else None
        )


def _amounts(maker: Order, shares: int) -> tuple[int, int]:
    """(micro-shares, micro-USDC) that a resting order trades when the taker takes at most
    ``shares``.
    """
    if maker.side is Side.SELL:
        return shares, shares * maker.taker_amount // maker.maker_amount
    collateral = shares * maker.maker_amount // maker.taker_amount
    return collateral * maker.taker_amount // maker.maker_amount, collateral


def _kind(taker: Order, maker: Order) -> MatchKind:
    if maker.token_id == taker.token_id:
        return MatchKind.COMPLEMENTARY
    return MatchKind.MINT if taker.side is Side.BUY else MatchKind.MERGE
