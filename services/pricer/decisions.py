"""The price of an intent, from the order book of its token. Pure."""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.books import Level, Walk, sell, spend
from shared.domain.money import Side
from shared.messages.intents import Intent, Missing, NoQuote, PriceLevel, Quote, QuoteSource
from shared.polymarket.market_data import Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A token's order book, best levels first, with its time and where it came from."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    fetched_at: datetime
    source: QuoteSource


def price(intent: Intent, *, book: Book, market: Market) -> Quote | NoQuote:
    """Walk the side of the book that the intent takes from: a BUY the asks with its USDC, a SELL
    the bids with its shares.
    """
    walk = (
        spend(book.asks, intent.usdc) if intent.side is Side.BUY else sell(book.bids, intent.shares)
    )
    if walk is None or walk.shares == 0:
        return NoQuote(missing=Missing.EMPTY_BOOK)
    return _build_quote(walk, book, market)


def _build_quote(walk: Walk, book: Book, market: Market) -> Quote:
    return Quote(
        source=book.source,
        levels=tuple(PriceLevel(price=level.price, shares=level.shares) for level in walk.levels),
        shares=walk.shares,
        usdc=walk.usdc,
        complete=walk.complete,
        fetched_at=book.fetched_at,
        tick_size=market.tick_size,
        min_order_shares=market.min_order_shares,
        neg_risk=market.neg_risk,
        fee_rate=market.fee_rate,
    )
