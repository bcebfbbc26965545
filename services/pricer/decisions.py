"""The price of an intent: from its token's order book, or, where no book can be had, from the next
best that is bounded by something other than itself. Pure.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from shared.domain.books import Level, Walk, sell, spend
from shared.domain.money import Side, cost_floor, shares_for
from shared.messages.intents import (
    SOURCES_TO_BOUND,
    Bound,
    Intent,
    Missing,
    NoQuote,
    PriceLevel,
    Quote,
    QuoteSource,
)
from shared.polymarket.market_data import Market

NO_MIDPOINT = Decimal("0.5")
"""The midpoint of an empty book (0 and 1) and of a ghost book, whatever the market trades at: as a
fallback it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickSeen:
    """The tick that a whole book named. Changes of a book do not, so it may be older than that."""

    size: Decimal
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A token's order book, best levels first, with its time and where it came from."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    fetched_at: datetime
    source: QuoteSource
    tick: TickSeen | None = None
    """None: the venue did not say."""

    def taken_by(self, side: Side) -> tuple[Level, ...]:
        return self.asks if side is Side.BUY else self.bids

    def opposite_best(self, side: Side) -> Decimal:
        """The best price that the side does not take: 0 where nobody bids, 1 where nobody asks."""
        if side is Side.BUY:
            return self.bids[0].price if self.bids else Decimal(0)
        return self.asks[0].price if self.asks else Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMarket:
    """A market's trading rules, and when they were requested."""

    rules: Market
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSeen:
    price: Decimal
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VenuePrices:
    """What the venue last said beside its books, however old; None: nothing."""

    midpoint: PriceSeen | None = None
    last_trade: PriceSeen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackLimits:
    """How old each source may be where no fresh book can be had."""

    max_last_book_age: timedelta
    max_price_age: timedelta
    """Of a midpoint or a last trade's price, since it was requested."""
    max_leader_price_age: timedelta
    """Since the leader's trade."""
    max_bound_age: timedelta


def price(intent: Intent, *, book: Book, market: Market) -> Quote | NoQuote:
    """Walk the side of the book that the intent takes from: a BUY the asks with its USDC, a SELL
    the bids with its shares.
    """
    walk = (
        spend(book.asks, intent.usdc) if intent.side is Side.BUY else sell(book.bids, intent.shares)
    )
    if walk is None or walk.shares == 0:
        return NoQuote(missing=Missing.EMPTY_BOOK)
    return _build_quote(walk, book, market, opposite_best=book.opposite_best(intent.side))


def newer_tick(book: Book, market: KnownMarket) -> Decimal | None:
    """Return the book's tick where it differs from the market's and was not seen before; else
    None.
    """
    if book.tick is None or book.tick.seen_at < market.fetched_at:
        return None
    return book.tick.size if book.tick.size != market.rules.tick_size else None


def price_by_last_book(
    intent: Intent, last_book: Book | None, *, market: Market, limits: FallbackLimits, now: datetime
) -> Quote | None:
    """Walk the last good book. None: there is none within its limit, or it has nothing to take."""
    if last_book is None or not is_within(limits.max_last_book_age, last_book.fetched_at, now):
        return None
    quote = price(intent, book=replace(last_book, source=QuoteSource.LAST_BOOK), market=market)
    return quote if isinstance(quote, Quote) else None


def price_without_book(
    intent: Intent,
    *,
    market: Market,
    last_book: Book | None,
    prices: VenuePrices,
    limits: FallbackLimits,
    now: datetime,
) -> Quote | NoQuote:
    """Use the first of midpoint, last trade and leader's price that is new enough and, where it may
    be the leader's own, has a bound.
    """
    midpoint = _usable(prices.midpoint)
    book_price = _best_price(last_book, intent.side)
    leader = (
        PriceSeen(price=intent.leader_price, seen_at=intent.filled_at)
        if intent.leader_price is not None
        else None
    )
    for source, seen, max_age in (
        (QuoteSource.MIDPOINT, midpoint, limits.max_price_age),
        (QuoteSource.LAST_TRADE, prices.last_trade, limits.max_price_age),
        (QuoteSource.LEADER, leader, limits.max_leader_price_age),
    ):
        if seen is None or not is_within(max_age, seen.seen_at, now):
            continue
        # A price does not bound itself.
        others = (book_price,) if seen is midpoint else (book_price, midpoint)
        bound = _find_bound(others, limits.max_bound_age, now)
        if bound is not None or source not in SOURCES_TO_BOUND:
            return _build_fallback_quote(intent, source, seen, bound, market)
    return NoQuote(missing=Missing.UNAVAILABLE)


def is_within(max_age: timedelta, at: datetime, now: datetime) -> bool:
    """Whether a moment is new enough. A time far in the future comes from a wrong clock and is not
    new.
    """
    return abs(now - at) <= max_age


def _usable(midpoint: PriceSeen | None) -> PriceSeen | None:
    return None if midpoint is None or midpoint.price == NO_MIDPOINT else midpoint


def _best_price(book: Book | None, side: Side) -> PriceSeen | None:
    """The best price that the side would take; None: there is nothing to take."""
    levels = () if book is None else book.taken_by(side)
    return PriceSeen(price=levels[0].price, seen_at=book.fetched_at) if book and levels else None


def _find_bound(
    candidates: tuple[PriceSeen | None, ...], max_age: timedelta, now: datetime
) -> Bound | None:
    """The newest of them; None: none is new enough."""
    seen = [each for each in candidates if each and is_within(max_age, each.seen_at, now)]
    newest = max(seen, key=lambda each: each.seen_at, default=None)
    return None if newest is None else Bound(price=newest.price, seen_at=newest.seen_at)


def _build_fallback_quote(
    intent: Intent, source: QuoteSource, seen: PriceSeen, bound: Bound | None, market: Market
) -> Quote | NoQuote:
    """One level that has all that the intent takes; the order's own limit price protects it."""
    buys = intent.side is Side.BUY
    shares = shares_for(intent.usdc, seen.price) if buys else intent.shares
    if shares == 0:
        return NoQuote(missing=Missing.EMPTY_BOOK)
    usdc = intent.usdc if buys else cost_floor(shares, seen.price)
    walk = Walk((Level(seen.price, shares),), shares, usdc, complete=True)
    book = Book(bids=(), asks=(), fetched_at=seen.seen_at, source=source)
    return _build_quote(walk, book, market, bound=bound)


def _build_quote(
    walk: Walk,
    book: Book,
    market: Market,
    *,
    opposite_best: Decimal | None = None,
    bound: Bound | None = None,
) -> Quote:
    return Quote(
        source=book.source,
        levels=tuple(PriceLevel(price=level.price, shares=level.shares) for level in walk.levels),
        shares=walk.shares,
        usdc=walk.usdc,
        complete=walk.complete,
        fetched_at=book.fetched_at,
        bound=bound,
        opposite_best=opposite_best,
        tick_size=market.tick_size,
        min_order_shares=market.min_order_shares,
        neg_risk=market.neg_risk,
        fee_rate=market.fee_rate,
    )
