"""Which resting orders fill an incoming one, for how much each, and what is the fee?

Amounts are integers of base units. A resting order's own ratio sets the price: what it gets is
``floor(what it gives * its taker amount / its maker amount)``, as the exchange contract computes
it; so the incoming order always pays at most, and gets at least, what it signed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from services.paper_venue.exchange.book import Book, Resting
from services.paper_venue.exchange.orders import FILL_TOLERANCE, PRICE_ONE, Market, Order, Side

_FEE_STEP = Decimal(10)
"""Micro-USDC: the venue rounds a fee to five decimals of a USDC."""


MAX_FILLS = 50
"""Resting orders that one settlement transaction carries at most (seen live, 2026-09)."""


class MatchKind(StrEnum):
    COMPLEMENTARY = "complementary"
    """A buyer and a seller of one token."""
    MINT = "mint"
    """Two buyers of the two outcomes: their USDC is split into a pair."""
    MERGE = "merge"
    """Two sellers of the two outcomes: their pair is merged into USDC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One resting order's part in a match."""

    resting: Resting
    maker: Order
    kind: MatchKind
    price: int
    """Per share of the incoming order's token, in 1/10,000 USDC."""
    shares: int
    """Micro-shares of each of the two orders."""
    maker_collateral: int
    """Micro-USDC that the resting order pays or gets."""

    @property
    def given(self) -> int:
        """What the resting order gives, in its own unit: the exchange contract's fill amount."""
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
    """An incoming order and all that fill it, in the order in which they were reached. May be
    empty.
    """

    taker: Order
    fills: tuple[Fill, ...] = ()
    own: tuple[Resting, ...] = ()
    """Orders of the taker's own wallet that it reached: they give way, as nobody trades with
    himself."""

    @property
    def shares(self) -> int:
        return sum(fill.shares for fill in self.fills)

    @property
    def collateral(self) -> int:
        """Micro-USDC that the incoming order pays or gets, before the fee."""
        return sum(fill.taker_collateral for fill in self.fills)

    @property
    def given(self) -> int:
        return self.collateral if self.taker.side is Side.BUY else self.shares

    @property
    def gotten(self) -> int:
        return self.shares if self.taker.side is Side.BUY else self.collateral

    @property
    def is_capped(self) -> bool:
        """Whether it may have met more, had one transaction room for them."""
        return len(self.fills) == MAX_FILLS

    @property
    def fee(self) -> int:
        return taker_fee(self.taker.market, self.fills)

    @property
    def is_complete(self) -> bool:
        """Whether an order that may not rest got all it asked for: a buyer spends his amount, a
        seller sells his shares.
        """
        return self.taker.maker_amount - self.given <= FILL_TOLERANCE


def taker_fee(market: Market, fills: Sequence[Fill]) -> int:
    """Micro-USDC: ``shares * rate * p * (1 - p)`` over the fills, rounded to five decimals of a
    USDC.
    """
    weighted = sum(fill.shares * fill.price * (PRICE_ONE - fill.price) for fill in fills)
    exact = market.fee_rate * weighted / (PRICE_ONE * PRICE_ONE)
    return int((exact / _FEE_STEP).quantize(Decimal(1), rounding=ROUND_HALF_UP) * _FEE_STEP)


def match(order: Order, book: Book, *, divisor: int = 1) -> Match:
    """What would happen to this order now, or to its ``divisor``-th part. Changes nothing.

    An order does not meet those of its own wallet: it passes them, and they are to be cancelled. So
    the venue's perpetuals do ("CancelMaker", docs.polymarket.com, self-trade prevention); what its
    prediction markets do is documented nowhere.
    """
    fills: list[Fill] = []
    own: list[Resting] = []
    wanted = _Wanted(order, divisor)
    for resting in book.opposite(order):
        price = wanted.price_of(resting)
        if price is None or len(fills) == MAX_FILLS:
            break
        if resting.order.maker == order.maker:
            own.append(resting)
            continue
        fill = wanted.fill_from(resting, price)
        if fill is None:
            break
        fills.append(fill)
        wanted.subtract(fill)
    return Match(taker=order, fills=tuple(fills), own=tuple(own))


class _Wanted:
    """What an incoming order still wants: USDC to spend for a buyer that may not rest, else shares."""

    def __init__(self, order: Order, divisor: int) -> None:
        self._order = order
        self._is_no = order.outcome_index == 1
        self._by_collateral = order.side is Side.BUY and not order.kind.may_rest
        self._left = (order.maker_amount if self._by_collateral else order.shares) // divisor

    def subtract(self, fill: Fill) -> None:
        self._left -= fill.taker_collateral if self._by_collateral else fill.shares

    def price_of(self, resting: Resting) -> int | None:
        """What a share would cost, or bring, here. None when that is not acceptable, or nothing
        more is wanted.
        """
        price = PRICE_ONE - resting.yes_price if self._is_no else resting.yes_price
        return price if self._left > FILL_TOLERANCE and self._order.accepts(price) else None

    def fill_from(self, resting: Resting, price: int) -> Fill | None:
        """None when what is left is worth less than a base unit."""
        maker = resting.order
        affordable = self._left * PRICE_ONE // price if self._by_collateral else self._left
        shares, collateral = _amounts(maker, min(affordable, resting.remaining))
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
    """(micro-shares, micro-USDC) that a resting order trades when at most ``shares`` are wanted of
    it.
    """
    if maker.side is Side.SELL:
        return shares, shares * maker.taker_amount // maker.maker_amount
    collateral = shares * maker.maker_amount // maker.taker_amount
    return collateral * maker.taker_amount // maker.maker_amount, collateral


def _kind(taker: Order, maker: Order) -> MatchKind:
    if maker.token_id == taker.token_id:
        return MatchKind.COMPLEMENTARY
    return MatchKind.MINT if taker.side is Side.BUY else MatchKind.MERGE
