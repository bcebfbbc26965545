"""The caches of pricer on a venue in memory, and the feed that keeps the books current."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from services.pricer.adapters.books import QuoteCache, SubscriptionChange
from services.pricer.adapters.channel import MarketChannelFeed
from services.pricer.adapters.details import DetailsCache
from services.pricer.adapters.markets import MarketCache
from services.pricer.adapters.prices import PriceCache
from services.pricer.decisions import Book, FallbackLimits, KnownMarket
from services.pricer.handler import Handler
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.filters import MarketDetails
from shared.messages.intents import NoQuote, Quote
from shared.observe import metrics
from shared.observe.metrics import Feed
from shared.polymarket.clob import Clob
from shared.polymarket.gamma import Gamma
from shared.polymarket.market_data import BookSnapshot, Market
from shared.polymarket.settings import VenueSettings
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.testing.waiting import eventually
from tests.builders import NOON, TOKEN, a_market, intended, level, market_details, seconds
from tests.fakes import Clock, FakeSharedCache

MAX_AGE = seconds(2)
FETCH_TIMEOUT = seconds(60)
INSTANT = timedelta(microseconds=1)
LIMITS = FallbackLimits(
    max_last_book_age=seconds(15),
    max_price_age=seconds(2),
    max_leader_price_age=seconds(4),
    max_bound_age=seconds(60),
)


class FakeClob(Clob):
    """Replies once ``may_reply`` is set, raises the given failures first, and records requests."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(VenueSettings(), now=clock)
        self.requested: list[str] = []
        self.failures: list[Exception] = []
        self.book = ("0.40", "0.60")
        self.book_tick: Decimal | None = None
        self.market = a_market()
        self.midpoint: Decimal | Exception = Transient("no midpoint")
        self.last_trade: Decimal | Exception = Transient("no last trade")
        self.may_reply = asyncio.Event()
        self.may_reply.set()

    async def fetch_book(self, token_id: str) -> BookSnapshot:
        await self._record_request(token_id)
        return a_snapshot(*self.book, token_id=token_id, tick_size=self.book_tick)

    async def fetch_market(self, token_id: str) -> Market:
        market = self.market
        await self._record_request(token_id)
        return market

    async def fetch_midpoint(self, token_id: str) -> Decimal:
        return _answer(self.midpoint)

    async def fetch_last_trade_price(self, token_id: str) -> Decimal:
        return _answer(self.last_trade)

    def fail(self, failure: Exception | None = None, *, times: int = 1000) -> None:
        """Have the next requests for books and markets fail."""
        self.failures = [failure or Transient("status 500")] * times

    async def _record_request(self, token_id: str) -> None:
        self.requested.append(token_id)
        await self.may_reply.wait()
        if self.failures:
            raise self.failures.pop(0)


def _answer(price: Decimal | Exception) -> Decimal:
    if isinstance(price, Exception):
        raise price
    return price


class FakeGamma(Gamma):
    """Replies once ``may_reply`` is set, raises the given failures first, and records requests."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("http://127.0.0.1:1", timeout_s=1, now=clock)
        self._clock = clock
        self.requested: list[str] = []
        self.replied: list[str] = []
        self.failures: list[Exception] = []
        self.may_reply = asyncio.Event()
        self.may_reply.set()

    async def fetch_details(self, token_id: str) -> MarketDetails:
        read_at = self._clock.now
        self.requested.append(token_id)
        await self.may_reply.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.replied.append(token_id)
        return market_details(read_at=read_at)


class PricerCaches:
    """The caches on a venue in memory, and a handler that quotes from them."""

    def __init__(
        self,
        *,
        max_tokens: int = 3,
        fetch_timeout: timedelta = FETCH_TIMEOUT,
        max_details_wait: timedelta = FETCH_TIMEOUT,
    ) -> None:
        self.clock, self.shared = Clock(NOON), FakeSharedCache()
        self.clob = FakeClob(self.clock)
        self.quotes = QuoteCache(
            self.clob,
            self.shared,
            now=self.clock,
            max_age=MAX_AGE,
            fetch_timeout=fetch_timeout,
            max_tokens=max_tokens,
        )
        self.markets = MarketCache(
            self.clob,
            now=self.clock,
            valid_for=seconds(600),
            fetch_timeout=fetch_timeout,
            max_tokens=max_tokens,
        )
        self.prices = PriceCache(
            self.clob, now=self.clock, fetch_timeout=fetch_timeout, max_tokens=max_tokens
        )
        self.gamma = FakeGamma(self.clock)
        self.details = DetailsCache(
            self.gamma,
            now=self.clock,
            valid_for=seconds(300),
            fetch_timeout=fetch_timeout,
            max_wait=max_details_wait,
            max_tokens=max_tokens,
        )
        self.handler = Handler(
            books=self.quotes,
            markets=self.markets,
            prices=self.prices,
            details=self.details,
            limits=LIMITS,
            now=self.clock,
        )

    async def book(self, token_id: str = TOKEN) -> Book:
        book = await self.quotes.fetch_book(token_id)
        assert isinstance(book, Book)
        return book

    async def market(self, **options: Any) -> Market:
        market = await self.markets.fetch_market(TOKEN, **options)
        assert isinstance(market, KnownMarket)
        return market.rules

    async def quote(self, **intent: Any) -> Quote | NoQuote:
        (quoted,) = await self.handler.on_copy_intended(intended(**intent))
        return quoted.quote

    async def know_book_from_channel(self, token_id: str = TOKEN) -> None:
        """Have the token requested, and its book known from the market channel."""
        await self.quotes.fetch_book(token_id)
        self.quotes.apply(a_snapshot("0.45", "0.55", token_id=token_id))
        self.clob.requested.clear()

    def take_subscription_changes(self) -> list[SubscriptionChange]:
        return [
            self.quotes.subscription_changes.get_nowait()
            for _ in range(self.quotes.subscription_changes.qsize())
        ]


def a_snapshot(
    bid: str, ask: str, *, token_id: str = TOKEN, tick_size: Decimal | None = None
) -> BookSnapshot:
    return BookSnapshot(
        token_id=token_id,
        bids=(level(bid, 100),),
        asks=(level(ask, 100),),
        tick_size=tick_size,
    )


def best(book: Book) -> tuple[str, str]:
    return str(book.bids[0].price), str(book.asks[0].price)


class FakeChannel(Channel):
    """A channel with the frames that a test provides; None is a new socket."""

    def __init__(self) -> None:
        super().__init__(
            ChannelSettings(
                name=Feed.MARKET, url="", ping_interval_s=1, silence_timeout_s=1, pong_is_alive=True
            ),
            list,
        )
        self.incoming: asyncio.Queue[str | None] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []

    async def frames(self) -> AsyncIterator[str | None]:
        while True:
            yield await self.incoming.get()
            self.incoming.task_done()

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))


class RunningFeed:
    """The caches with their feed running."""

    def __init__(self) -> None:
        self.pricer, self.channel, self.parked = PricerCaches(), FakeChannel(), list[Message]()

    async def __aenter__(self) -> "RunningFeed":
        pricer = self.pricer
        feed = MarketChannelFeed(
            self.channel,
            pricer.quotes,
            pricer.markets,
            pricer.shared,
            now=pricer.clock,
            share_interval=timedelta(milliseconds=500),
        )
        self.task = asyncio.create_task(feed(self._publish))
        await pricer.quotes.fetch_book(TOKEN)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _publish(self, message: Message) -> None:
        self.parked.append(message)

    async def receive(self, *frames: dict[str, Any] | str | None) -> None:
        for frame in frames:
            self.channel.incoming.put_nowait(
                json.dumps(frame) if isinstance(frame, dict) else frame
            )
        await self._wait_until_handled()

    async def receive_array(self, *events: dict[str, Any]) -> None:
        """Receive the events as one frame."""
        self.channel.incoming.put_nowait(json.dumps(events))
        await self._wait_until_handled()

    async def _wait_until_handled(self) -> None:
        # Once this one is taken, the frames before it have been handled.
        self.channel.incoming.put_nowait("")
        await eventually(self.channel.incoming.empty)


def a_frame(bid: str, *, token_id: str = TOKEN, **more: Any) -> dict[str, Any]:
    return {
        "event_type": "book",
        "asset_id": token_id,
        "bids": [{"price": bid, "size": "9"}],
        "asks": [{"price": "0.9", "size": "9"}],
    } | more


def a_change_frame(*changes: dict[str, str]) -> dict[str, Any]:
    base = {"asset_id": TOKEN, "side": "BUY", "size": "5"}
    return {
        "event_type": "price_change",
        "price_changes": [base | change for change in changes],
    }


def counted(name: str, **labels: str) -> float:
    """The present value of a counter of this process."""
    return metrics.REGISTRY.get_sample_value(f"slipstream_{name}_total", labels) or 0.0
