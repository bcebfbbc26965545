"""Composition root: builds preflight from its settings."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.balances import ChainBalances
from services.preflight.adapters.cleanup import CleanupFeed
from services.preflight.adapters.delays import DelayFeed
from services.preflight.adapters.exits import ExitFeed
from services.preflight.adapters.mirror import MirrorFeed
from services.preflight.adapters.reconciliation import ChainLevels, ReconciliationFeed
from services.preflight.adapters.unmirrored import UnmirroredCheck
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import ENTRIES_WINDOW, Limits
from services.preflight.handler import MAX_JUDGEMENT, Handler
from services.preflight.settings import Settings
from shared.chain.addresses import LIVE_EXCHANGES
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.clock import utc_now
from shared.db import tables
from shared.db.controls import ControlsWatch
from shared.db.dead_letters import PostgresDeadLetters
from shared.db.engine import engine_scope
from shared.db.migrate import require_migrated
from shared.db.partitions import Partitions
from shared.db.settings import ControlsSettings, DatabaseSettings
from shared.domain.money import micros
from shared.messages.caches import BalancesFetched
from shared.messages.intents import CopyIntended, IntentApproved, IntentQuoted, IntentRefused
from shared.messages.orders import OrderReported
from shared.polymarket.data_api import DataApi
from shared.polymarket.request_budget import RequestBudget
from shared.polymarket.settings import VenueSettings
from shared.settings import read
from shared.streams.cache import CacheTable
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.routes import Feed, ignored
from shared.streams.service import Process, Service, run

DATA_TIMEOUT_S = 10
"""Of a request to the Data API, which no copy waits for."""

MARGIN = timedelta(minutes=1)
"""For what follows a judgement until it is recorded, and for clocks that differ."""
LEVEL_MARGIN = timedelta(hours=1)
"""Between the trades that a level takes into account and its block: the node may be slow."""


@asynccontextmanager
async def compose(process: Process) -> AsyncIterator[Service]:
    settings, ownership = read(Settings), Ownership()
    chain = ChainClient(Rpc(str(settings.polygon_rpc_url)), spenders=LIVE_EXCHANGES)
    pool = read(DatabaseSettings)
    async with (
        Producer(process.kafka) as producer,
        engine_scope(pool) as engine,
        engine_scope(pool.for_upkeep) as upkeep,
        chain,
        CacheTable(BalancesFetched, process.kafka, producer) as shared,
        open_data_api(settings) as data,
    ):
        await require_migrated(engine)
        controls = ControlsWatch(upkeep, read(ControlsSettings), now=utc_now)
        await controls.refresh()
        handler = Handler(
            controls=controls,
            balances=ChainBalances(
                chain,
                shared,
                now=utc_now,
                max_age=settings.max_balance_age,
                max_accounts=settings.max_accounts,
            ),
            verdicts=PostgresVerdicts(engine),
            limits=build_limits(settings),
            retry_delay=settings.exit_retry_delay,
            now=utc_now,
        )

        yield Service(
            producer=producer,
            dead_letters=PostgresDeadLetters(engine),
            routes={
                IntentQuoted: handler.on_intent_quoted,
                OrderReported: handler.on_order_reported,
                IntentRefused: ignored,  # preflight's own: recorded before it was published
            },
            batch_routes={
                IntentQuoted: handler.on_intents_quoted,
                OrderReported: handler.on_orders_reported,
            },
            produces=[IntentApproved, IntentRefused, CopyIntended, BalancesFetched],
            feeds=build_feeds(settings, engine, controls, chain, data, ownership),
            readiness_checks=[controls],
            ownership=ownership,
        )


@asynccontextmanager
async def open_data_api(settings: Settings) -> AsyncIterator[DataApi | None]:
    """None where no address is set: then no leader is mirrored."""
    if settings.data_url is None:
        yield None
        return
    budget = RequestBudget(share=read(VenueSettings).venue_rate_share)
    async with DataApi(
        str(settings.data_url), timeout_s=DATA_TIMEOUT_S, now=utc_now, budget=budget
    ) as data:
        yield data


def build_feeds(
    settings: Settings,
    engine: AsyncEngine,
    controls: ControlsWatch,
    chain: ChainClient,
    data: DataApi | None,
    ownership: Ownership,
) -> Mapping[str, Feed]:
    """The controls, and what intends copies of this instance's followers beside the trades."""

    def owns(proxy: str) -> bool:
        return ownership.owns(proxy.encode(), IntentQuoted.topic)

    poll_interval, levels = settings.exit_poll_interval, ChainLevels(chain)
    feeds: dict[str, Feed] = {
        "controls": controls,
        "exits": ExitFeed(engine, controls, owns=owns, now=utc_now, poll_interval=poll_interval),
        "delays": DelayFeed(engine, owns=owns, now=utc_now, poll_interval=poll_interval),
        "cleanup": build_cleanup(settings, engine),
        "partitions": Partitions(engine, [tables.intents, tables.verdicts]),
        "levels": ReconciliationFeed(
            engine,
            controls,
            levels,
            owns=owns,
            now=utc_now,
            interval=settings.reconcile_interval,
            act_after=settings.reconcile_after,
        ),
    }
    if data is None:
        feeds["mirror"] = UnmirroredCheck(controls, owns=owns, interval=settings.reconcile_interval)
    else:
        feeds["mirror"] = MirrorFeed(
            engine,
            controls,
            levels,
            data.fetch_positions,
            owns=owns,
            now=utc_now,
            interval=settings.reconcile_interval,
            act_after=settings.reconcile_after,
        )
    return feeds


def build_cleanup(settings: Settings, engine: AsyncEngine) -> CleanupFeed:
    """It keeps what a judgement may still need that began with the oldest balance."""
    oldest = max(settings.max_balance_age, ENTRIES_WINDOW)
    return CleanupFeed(
        engine,
        now=utc_now,
        reservations_kept=oldest + MAX_JUDGEMENT + MARGIN,
        copies_kept=settings.max_exit_age + LEVEL_MARGIN,
    )


def build_limits(settings: Settings) -> Limits:
    return Limits(
        max_quote_age=settings.max_quote_age,
        max_last_book_age=settings.max_last_book_age,
        max_bound_age=settings.max_bound_age,
        max_entry_age=settings.max_entry_age,
        max_exit_age=settings.max_exit_age,
        max_trade_usdc=micros(settings.max_trade_usdc),
        max_follower_daily_usdc=_micros(settings.max_follower_daily_usdc),
        max_market_daily_usdc=_micros(settings.max_market_daily_usdc),
        max_global_daily_usdc=_micros(settings.max_global_daily_usdc),
        max_open_positions=settings.max_open_positions,
        max_entries_per_minute=settings.max_entries_per_minute,
        max_spread_bps=settings.max_spread_bps,
        min_entry_price=settings.min_entry_price,
        max_entry_price=settings.max_entry_price,
        max_clock_skew=settings.max_clock_skew,
        allowed_followers=settings.allowed_followers,
        allowed_leaders=settings.allowed_leaders,
        allowed_tokens=settings.allowed_tokens,
        sell_own_shares=settings.sell_own_shares,
    )


def _micros(usdc: Decimal | None) -> int | None:
    return None if usdc is None else micros(usdc)


def main() -> None:
    run("preflight", compose)
