"""Handler of pricer: fetch the market and the book, price the intent, publish the quote."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.pricer.decisions import Book, price
from shared.messages.intents import CopyIntended, Intent, IntentQuoted, Missing, NoQuote, Quote
from shared.polymarket.market_data import Market


class Books(Protocol):
    async def fetch_book(self, token_id: str) -> Book | Missing:
        """Return a current book, or why there is none. Never raises for what the venue does."""
        ...


class Markets(Protocol):
    async def fetch_market(self, token_id: str) -> Market | Missing:
        """Return the trading rules of the token's market, or why they are not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    books: Books
    markets: Markets
    now: Callable[[], datetime]

    async def on_copy_intended(self, intended: CopyIntended) -> Sequence[IntentQuoted]:
        intent = intended.intent
        quote = await self._quote(intent)
        return [
            IntentQuoted(
                message_id=f"{intent.intent_id}:quoted",
                occurred_at=self.now(),
                intent=intent,
                quote=quote,
            )
        ]

    async def _quote(self, intent: Intent) -> Quote | NoQuote:
        market = await self.markets.fetch_market(intent.token_id)
        if isinstance(market, Missing):
            return NoQuote(missing=market)
        book = await self.books.fetch_book(intent.token_id)
        return (
            NoQuote(missing=book)
            if isinstance(book, Missing)
            else price(intent, book=book, market=market)
        )
