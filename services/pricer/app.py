"""Composition root: builds pricer from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.pricer.adapters.books import QuoteCache, SharedCache
from services.pricer.adapters.channel import MarketChannelFeed, build_subscription
from services.pricer.adapters.details import DetailsCache
from services.pricer.adapters.markets import MarketCache
from services.pricer.adapters.prices import PriceCache
from services.pricer.decisions import FallbackLimits
from services.pricer.handler import Handler
from services.pricer.settings import Settings
from shared.clock import utc_now
from shared.db.dead_letters import PostgresDeadLetters
from shared.db.engine import engine_scope
from shared.db.migrate import require_migrated
from shared.db.settings import DatabaseSettings
from shared.messages.caches import BookSeen
from shared.messages.dead_letters import FrameParked
from shared.messages.intents import CopyIntended, IntentQuoted
from shared.observe.metrics import Feed
from shared.polymarket.clob import Clob
from shared.polymarket.gamma import Gamma
from shared.polymarket.request_budget import RequestBudget
from shared.polymarket.settings import VenueSettings
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.settings import read
from shared.streams.cache import CacheTable
from shared.streams.producer import Producer
from shared.streams.service import Process, Service, run


@asynccontextmanager
async def compose(process: Process) -> AsyncIterator[Service]:
    settings, venue = read(Settings), read(VenueSettings)
    budget = RequestBudget(share=venue.venue_rate_share)
    async with (
        Producer(process.kafka) as producer,
        engine_scope(read(DatabaseSettings)) as engine,
        Clob(venue, now=utc_now, budget=budget) as clob,
        Gamma(
            str(venue.gamma_url), timeout_s=venue.venue_timeout_s, now=utc_now, budget=budget
        ) as gamma,
        CacheTable(BookSeen, process.kafka, producer) as shared,
    ):
        await require_migrated(engine)
        quotes, markets, prices = build_caches(settings, clob, shared)
        handler = Handler(
            books=quotes,
            markets=markets,
            prices=prices,
            details=build_details_cache(settings, gamma),
            limits=build_fallback_limits(settings),
            now=utc_now,
        )
        channel = Channel(
            build_market_channel_settings(settings, venue),
            lambda: build_subscription(quotes.tracked_tokens()),
        )
        yield Service(
            producer=producer,
            dead_letters=PostgresDeadLetters(engine),
            routes={CopyIntended: handler.on_copy_intended},
            batch_routes={CopyIntended: handler.on_copies_intended},
            produces=[IntentQuoted, BookSeen, FrameParked],
            feeds={
                "market": MarketChannelFeed(
                    channel,
                    quotes,
                    markets,
                    shared,
                    now=utc_now,
                    share_interval=settings.share_interval,
                )
            },
        )


def build_caches(
    settings: Settings, clob: Clob, shared: SharedCache
) -> tuple[QuoteCache, MarketCache, PriceCache]:
    quotes = QuoteCache(
        clob,
        shared,
        now=utc_now,
        max_age=settings.max_book_age,
        fetch_timeout=settings.fetch_timeout,
        max_tokens=settings.max_tokens,
    )
    markets = MarketCache(
        clob,
        now=utc_now,
        valid_for=settings.market_valid_for,
        fetch_timeout=settings.fetch_timeout,
        max_tokens=settings.max_tokens,
    )
    prices = PriceCache(
        clob, now=utc_now, fetch_timeout=settings.fetch_timeout, max_tokens=settings.max_tokens
    )
    return quotes, markets, prices


def build_details_cache(settings: Settings, gamma: Gamma) -> DetailsCache:
    return DetailsCache(
        gamma,
        now=utc_now,
        valid_for=settings.market_details_valid_for,
        fetch_timeout=settings.fetch_timeout,
        max_wait=settings.max_market_details_wait,
        max_tokens=settings.max_market_details,
    )


def build_fallback_limits(settings: Settings) -> FallbackLimits:
    return FallbackLimits(
        max_last_book_age=settings.max_last_book_age,
        max_price_age=settings.max_book_age,
        max_leader_price_age=settings.max_leader_price_age,
        max_bound_age=settings.max_bound_age,
    )


def build_market_channel_settings(settings: Settings, venue: VenueSettings) -> ChannelSettings:
    return ChannelSettings(
        name=Feed.MARKET,
        url=str(venue.clob_market_ws_url),
        ping_interval_s=settings.socket_ping_interval.total_seconds(),
        silence_timeout_s=settings.socket_silence_timeout.total_seconds(),
        pong_is_alive=True,
    )


def main() -> None:
    run("pricer", compose)
