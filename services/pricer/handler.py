"""Handler of pricer: fetch the market and the book, price the intent, publish the quote."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from services.pricer.decisions import (
    Book,
    FallbackLimits,
    KnownMarket,
    VenuePrices,
    newer_tick,
    price,
    price_by_last_book,
    price_without_book,
)
from shared.messages.filters import MarketDetails
from shared.messages.intents import CopyIntended, Intent, IntentQuoted, Missing, NoQuote, Quote
from shared.observe import metrics
from shared.polymarket.market_data import Market
from shared.streams.routes import Outcome, Received


class Books(Protocol):
    def cached_book(self, token_id: str) -> Book | None:
        """Return a current book that need not be requested; None: there is none. It counts in no
        metric.
        """
        ...

    async def fetch_book(self, token_id: str) -> Book | Missing:
        """Return a current book, or why there is none. Never raises for what the venue does."""
        ...

    def last_book(self, token_id: str) -> Book | None:
        """Return the last good book that was seen, however old; None: none was."""
        ...


class Markets(Protocol):
    def cached_market(
        self, token_id: str, *, read_after: datetime | None = None
    ) -> KnownMarket | None:
        """Return the trading rules that need not be requested; None: there are none that are valid
        and were requested later.
        """
        ...

    async def fetch_market(
        self, token_id: str, *, read_after: datetime | None = None
    ) -> KnownMarket | Missing:
        """Return the trading rules of the token's market, or why they are not known.

        ``read_after``: rules that were requested before are not used.
        """
        ...

    def invalidate(self, token_id: str) -> None:
        """Have the rules fetched again: the market has changed."""
        ...


class Prices(Protocol):
    async def fetch_prices(self, token_id: str) -> VenuePrices:
        """Ask for midpoint and last trade. What fails is as it was last seen. Never raises for what
        the venue does.
        """
        ...


class Details(Protocol):
    def cached_details(self, token_id: str) -> MarketDetails | None:
        """Return the details that need not be requested; None: there are none that are valid. They
        count in no metric.
        """
        ...

    async def fetch_details(self, token_id: str) -> MarketDetails | None:
        """Return what the venue's catalogue says of the token's market; None: that could not be
        had, or not in time. Never raises for what the venue does.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    books: Books
    markets: Markets
    prices: Prices
    details: Details
    limits: FallbackLimits
    now: Callable[[], datetime]

    async def on_copy_intended(self, intended: CopyIntended) -> Sequence[IntentQuoted]:
        return self._answer(intended.intent, await self._quote_with_details(intended.intent))

    async def on_copies_intended(
        self, batch: Sequence[Received[CopyIntended]]
    ) -> Sequence[Outcome]:
        """Quote what the caches have all of; the others are quoted alone, where each waits for its
        own requests.
        """
        return [self._answer_from_caches(each.message.intent) for each in batch]

    def _answer_from_caches(self, intent: Intent) -> Sequence[IntentQuoted] | None:
        quote = self._quote_from_caches(intent)
        return None if quote is None else self._answer(intent, quote)

    def _answer(self, intent: Intent, quote: Quote | NoQuote) -> Sequence[IntentQuoted]:
        if isinstance(quote, Quote):
            metrics.quoted(quote.source)
        return [
            IntentQuoted(
                message_id=f"{intent.intent_id}:quoted",
                occurred_at=self.now(),
                intent=intent,
                quote=quote,
            )
        ]

    def _quote_from_caches(self, intent: Intent) -> Quote | NoQuote | None:
        """None: something of it has to be requested."""
        if intent.complement_missing is not None:
            return NoQuote(missing=intent.complement_missing)
        token_id, details = intent.token_id, None
        market = self.markets.cached_market(token_id, read_after=_read_after(intent))
        book = self.books.cached_book(token_id) if market is not None else None
        if market is None or book is None:
            return None
        if intent.needs_market_details:
            details = self.details.cached_details(token_id)
            if details is None:
                return None
            metrics.cache_requested(metrics.Cache.MARKET_DETAILS, metrics.CacheResult.HIT)
        metrics.cache_requested(metrics.Cache.QUOTES, metrics.CacheResult.HIT)
        quote = self._price(intent, book, market)
        return quote if details is None else _with_details(quote, details)

    async def _quote_with_details(self, intent: Intent) -> Quote | NoQuote:
        """The details are fetched at the same time, and only where they are needed. Where there is
        no quote they are not waited for.
        """
        if intent.complement_missing is not None:
            return NoQuote(missing=intent.complement_missing)
        if not intent.needs_market_details:
            return await self._quote(intent)
        fetching = asyncio.create_task(self.details.fetch_details(intent.token_id))
        try:
            quote = await self._quote(intent)
            if isinstance(quote, NoQuote):
                return quote
            return _with_details(quote, await fetching)
        finally:
            fetching.cancel()

    async def _quote(self, intent: Intent) -> Quote | NoQuote:
        market = await self.markets.fetch_market(intent.token_id, read_after=_read_after(intent))
        if isinstance(market, Missing):
            return NoQuote(missing=market)
        book = await self.books.fetch_book(intent.token_id)
        if isinstance(book, Book):
            return self._price(intent, book, market)
        if book is Missing.UNAVAILABLE:
            return await self._quote_without_fresh_book(intent, market)
        return NoQuote(missing=book)

    def _price(self, intent: Intent, book: Book, market: KnownMarket) -> Quote | NoQuote:
        return price(intent, book=book, market=self._rules_with_tick(intent, book, market))

    async def _quote_without_fresh_book(
        self, intent: Intent, market: KnownMarket
    ) -> Quote | NoQuote:
        last_book, rules = self.books.last_book(intent.token_id), market.rules
        if last_book is not None:
            rules = self._rules_with_tick(intent, last_book, market)
        quote = price_by_last_book(
            intent, last_book, market=rules, limits=self.limits, now=self.now()
        )
        if quote is not None:
            return quote
        prices = await self.prices.fetch_prices(intent.token_id)
        return price_without_book(
            intent,
            market=rules,
            last_book=last_book,
            prices=prices,
            limits=self.limits,
            now=self.now(),
        )

    def _rules_with_tick(self, intent: Intent, book: Book, market: KnownMarket) -> Market:
        """The market's rules with the tick of the newest book: the cached one may be old."""
        tick = newer_tick(book, market)
        if tick is None:
            return market.rules
        self.markets.invalidate(intent.token_id)
        return replace(market.rules, tick_size=tick)


def _read_after(intent: Intent) -> datetime | None:
    """What is intended again may have been refused because of an old tick."""
    return intent.intended_at if intent.continues else None


def _with_details(quote: Quote | NoQuote, details: MarketDetails | None) -> Quote | NoQuote:
    if isinstance(quote, NoQuote):
        return quote
    return quote.model_copy(update={"market": details})
