"""The quote of an intent, or the reason why there is none."""

import asyncio
from decimal import Decimal

import pytest

from services.pricer.decisions import Book, KnownMarket, VenuePrices, price
from services.pricer.handler import Handler
from shared.domain.books import Level
from shared.domain.money import Side
from shared.messages.filters import MarketDetails
from shared.messages.intents import Missing, NoQuote, Quote, QuoteSource
from shared.polymarket.clob import NoMarket
from shared.polymarket.market_data import Market
from shared.testing.waiting import eventually
from tests.builders import (
    NOON,
    a_market,
    an_intent,
    intended,
    level,
    market_details,
    seconds,
    shares,
    usdc,
)
from tests.fakes import Clock
from tests.unit.pricer.harness import LIMITS, PricerCaches


class FixedSource:
    """Always returns the same book or market; None must not be requested."""

    def __init__(self, answer: Book | Market | Missing | None) -> None:
        self.answer = answer

    async def fetch_book(self, token_id: str) -> "Book | Market | Missing":
        assert self.answer is not None, f"{token_id} was requested"
        return self.answer

    async def fetch_market(self, token_id: str, **_: object) -> KnownMarket | Missing:
        if isinstance(self.answer, Missing):
            return self.answer
        assert isinstance(self.answer, Market)
        return KnownMarket(rules=self.answer, fetched_at=NOON)

    def last_book(self, _: str) -> None:
        return None


class NoPrices:
    """A venue that says nothing beside its books."""

    async def fetch_prices(self, _: str) -> VenuePrices:
        return VenuePrices()


class FixedDetails:
    """A catalogue that says the same of every market, and records what it was asked for."""

    def __init__(self, answer: MarketDetails | None = None) -> None:
        self.answer, self.requested = answer, list[str]()

    def cached_details(self, _: str) -> None:
        return None

    async def fetch_details(self, token_id: str) -> MarketDetails | None:
        self.requested.append(token_id)
        return self.answer


def a_handler(
    books: FixedSource, markets: FixedSource, details: FixedDetails | None = None
) -> Handler:
    return Handler(
        books=books,  # type: ignore[arg-type]
        markets=markets,  # type: ignore[arg-type]
        prices=NoPrices(),
        details=details or FixedDetails(),
        limits=LIMITS,
        now=Clock(NOON + seconds(1)),
    )


def a_book(*, bids: tuple[Level, ...] = (), asks: tuple[Level, ...] = ()) -> Book:
    return Book(bids=bids, asks=asks, fetched_at=NOON, source=QuoteSource.SOCKET)


FULL = a_book(
    bids=(level("0.49", 100), level("0.48", 100)), asks=(level("0.51", 5), level("0.52", 100))
)


async def fetch_quote(
    book: Book | Missing | None, market: Market | Missing, side: Side = Side.BUY
) -> Quote | NoQuote:
    handler = a_handler(FixedSource(book), FixedSource(market))
    (quoted,) = await handler.on_copy_intended(intended(side=side))
    assert (quoted.occurred_at, quoted.intent) == (NOON + seconds(1), intended(side=side).intent)
    return quoted.quote


async def test_an_entry_takes_asks_with_its_usdc_and_lists_the_levels_that_it_needs() -> None:
    quote = await fetch_quote(FULL, a_market())

    assert isinstance(quote, Quote)
    assert [str(each.price) for each in quote.levels] == ["0.51", "0.52"]
    assert quote.usdc <= usdc(5)
    assert (quote.complete, quote.fetched_at, quote.tick_size) == (True, NOON, Decimal("0.01"))


async def test_an_exit_sells_its_shares_to_bids() -> None:
    quote = await fetch_quote(FULL, a_market(), Side.SELL)

    assert isinstance(quote, Quote)
    assert (quote.shares, quote.usdc, quote.best) == (shares(10), usdc("4.9"), Decimal("0.49"))


@pytest.mark.parametrize(
    ("book", "side", "opposite_best"),
    [
        (FULL, Side.BUY, "0.49"),
        (FULL, Side.SELL, "0.51"),
        (a_book(asks=FULL.asks), Side.BUY, "0"),
        (a_book(bids=FULL.bids), Side.SELL, "1"),
    ],
)
async def test_a_quote_from_a_book_names_the_best_price_of_the_other_side(
    book: Book, side: Side, opposite_best: str
) -> None:
    quote = await fetch_quote(book, a_market(), side)

    assert isinstance(quote, Quote)
    assert quote.opposite_best == Decimal(opposite_best)


async def test_a_quote_from_a_thin_book_is_incomplete() -> None:
    quote = await fetch_quote(a_book(asks=(level("0.51", 1),)), a_market())

    assert isinstance(quote, Quote)
    assert not quote.complete


@pytest.mark.parametrize("side", Side)
async def test_an_empty_side_gives_no_quote(side: Side) -> None:
    other_side = a_book(
        asks=FULL.asks if side is Side.SELL else (), bids=FULL.bids if side is Side.BUY else ()
    )

    assert await fetch_quote(other_side, a_market(), side) == NoQuote(missing=Missing.EMPTY_BOOK)


@pytest.mark.parametrize("missing", [Missing.UNAVAILABLE, Missing.NO_MARKET])
async def test_a_missing_book_or_market_is_not_reported_as_an_empty_book(missing: Missing) -> None:
    assert await fetch_quote(missing, a_market()) == NoQuote(missing=missing)
    assert await fetch_quote(None, missing) == NoQuote(missing=missing)


def test_a_quote_contains_the_trading_rules_of_its_market() -> None:
    quote = price(
        an_intent(),
        book=FULL,
        market=a_market(neg_risk=True, fee_rate=Decimal("0.07"), min_order_shares=shares(15)),
    )

    assert isinstance(quote, Quote)
    assert (quote.neg_risk, quote.fee_rate, quote.min_order_shares) == (
        True,
        Decimal("0.07"),
        shares(15),
    )


async def test_details_of_the_market_are_attached_only_where_they_are_needed() -> None:
    details = FixedDetails(market_details())
    handler = a_handler(FixedSource(FULL), FixedSource(a_market()), details)

    (without,) = await handler.on_copy_intended(intended())
    assert details.requested == []
    (with_them,) = await handler.on_copy_intended(intended(needs_market_details=True))

    assert isinstance(without.quote, Quote)
    assert isinstance(with_them.quote, Quote)
    assert without.quote.market is None
    assert with_them.quote == without.quote.model_copy(update={"market": market_details()})


async def test_a_quote_without_details_that_could_not_be_had_is_a_quote() -> None:
    handler = a_handler(FixedSource(FULL), FixedSource(a_market()), FixedDetails(None))

    (quoted,) = await handler.on_copy_intended(intended(needs_market_details=True))

    assert isinstance(quoted.quote, Quote)
    assert quoted.quote.market is None


async def test_details_and_book_are_fetched_at_the_same_time() -> None:
    pricer = PricerCaches()
    pricer.clob.may_reply.clear()
    pricer.gamma.may_reply.clear()

    quoting = asyncio.create_task(pricer.quote(needs_market_details=True))
    await eventually(lambda: pricer.clob.requested and pricer.gamma.requested)
    pricer.clob.may_reply.set()
    pricer.gamma.may_reply.set()

    quote = await quoting
    assert isinstance(quote, Quote)
    assert quote.market == market_details()


async def test_details_are_not_waited_for_where_there_is_no_quote() -> None:
    pricer = PricerCaches()
    pricer.clob.fail(NoMarket("the market is closed"))
    pricer.gamma.may_reply.clear()

    assert isinstance(await pricer.quote(needs_market_details=True), NoQuote)
    pricer.gamma.may_reply.set()


@pytest.mark.parametrize("missing", [Missing.NO_MARKET, Missing.UNAVAILABLE])
async def test_a_copy_whose_complement_is_not_known_is_not_quoted(missing: Missing) -> None:
    handler = a_handler(FixedSource(None), FixedSource(None))

    (quoted,) = await handler.on_copy_intended(intended(complement_missing=missing))

    assert quoted.quote == NoQuote(missing=missing)
