"""Pricer at a paper venue, without Kafka: its caches, its feed, and a handler that quotes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp

from services.pricer.adapters.books import QuoteCache
from services.pricer.adapters.channel import MarketChannelFeed, build_subscription
from services.pricer.adapters.markets import MarketCache
from services.pricer.adapters.prices import PriceCache
from services.pricer.app import (
    build_details_cache,
    build_fallback_limits,
    build_market_channel_settings,
)
from services.pricer.handler import Handler
from services.pricer.settings import Settings
from shared.clock import utc_now
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import NoQuote, Quote
from shared.polymarket.clob import Clob
from shared.polymarket.gamma import Gamma
from shared.polymarket.settings import VenueSettings
from shared.polymarket.sockets import Channel
from tests.builders import intended, shares
from tests.fakes import FakeSharedCache
from tests.integration.paper_venue.venue import PaperVenue

SETTINGS = Settings(
    fetch_timeout=timedelta(seconds=20), max_market_details_wait=timedelta(seconds=20)
)


@dataclass(slots=True, kw_only=True)
class ShiftedClock:
    """The machine's clock, and what a test adds to it: so that books age without a wait."""

    shift: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.shift


@dataclass(slots=True, kw_only=True)
class PricerAtVenue:
    """Pricer at a running venue."""

    venue: PaperVenue
    token: str
    clob: Clob
    clock: ShiftedClock
    quotes: QuoteCache
    markets: MarketCache
    handler: Handler
    parked: list[Message] = field(default_factory=list)

    def age(self, seconds: int) -> None:
        """Let everything that was seen be older."""
        self.clock.shift += timedelta(seconds=seconds)

    async def quote(self, side: Side = Side.SELL, **intent: Any) -> Quote | NoQuote:
        now = self.clock()
        fields = {"token_id": self.token, "side": side, "filled_at": now, "intended_at": now}
        (quoted,) = await self.handler.on_copy_intended(
            intended(**fields | {"shares": shares(1), "leader_price": Decimal("0.4")} | intent)
        )
        return quoted.quote

    async def source(self, **intent: Any) -> str | None:
        """The source of a quote for the token; None: there is no quote."""
        quote = await self.quote(**intent)
        return quote.source.value if isinstance(quote, Quote) else None

    async def set_faults(self, *names: str, **options: Any) -> None:
        """Switch on these faults and all others off."""
        url = f"{self.venue.urls['control']}/faults"
        faults: Mapping[str, Any] = dict.fromkeys(names, options)
        async with aiohttp.ClientSession(raise_for_status=True) as http, http.put(url, json=faults):
            pass

    async def fetch_strikes(self) -> Mapping[str, int]:
        strikes: Mapping[str, int] = (await self.venue.control("faults"))["struck"]
        return strikes


@asynccontextmanager
async def pricer_at(
    venue: PaperVenue, *, token: str | None = None, with_feed: bool = False
) -> AsyncIterator[PricerAtVenue]:
    """Without the feed, books come from REST alone."""
    settings = VenueSettings.model_validate(
        {
            "clob_url": venue.urls["clob"],
            "gamma_url": venue.urls["gamma"],
            "clob_market_ws_url": venue.urls["market_ws"],
            "venue_timeout_s": 20,
        }
    )
    clock, shared = ShiftedClock(), FakeSharedCache()
    limits = {"now": clock, "fetch_timeout": SETTINGS.fetch_timeout, "max_tokens": 10}
    async with (
        Clob(settings, now=utc_now) as clob,
        Gamma(str(settings.gamma_url), timeout_s=20, now=clock) as gamma,
    ):
        quotes = QuoteCache(clob, shared, max_age=SETTINGS.max_book_age, **limits)  # type: ignore[arg-type]
        markets = MarketCache(clob, valid_for=SETTINGS.market_valid_for, **limits)  # type: ignore[arg-type]
        pricer = PricerAtVenue(
            venue=venue,
            token=token or venue.token(),
            clob=clob,
            clock=clock,
            quotes=quotes,
            markets=markets,
            handler=Handler(
                books=quotes,
                markets=markets,
                prices=PriceCache(clob, **limits),  # type: ignore[arg-type]
                details=build_details_cache(SETTINGS, gamma),
                limits=build_fallback_limits(SETTINGS),
                now=clock,
            ),
        )
        try:
            if with_feed:
                async with _running_feed(pricer, settings, shared):
                    yield pricer
            else:
                yield pricer
        finally:
            await pricer.set_faults()


@asynccontextmanager
async def _running_feed(
    pricer: PricerAtVenue, settings: VenueSettings, shared: FakeSharedCache
) -> AsyncIterator[None]:
    channel = Channel(
        build_market_channel_settings(SETTINGS, settings),
        lambda: build_subscription(pricer.quotes.tracked_tokens()),
    )
    feed = MarketChannelFeed(
        channel,
        pricer.quotes,
        pricer.markets,
        shared,
        now=pricer.clock,
        share_interval=timedelta(hours=1),
    )

    async def publish(message: Message) -> None:
        pricer.parked.append(message)

    task = asyncio.create_task(feed(publish))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
