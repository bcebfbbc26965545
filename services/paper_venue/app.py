"""Composes and runs the paper venue: ``python -m services.paper_venue [--json]``."""

import argparse
import asyncio
import hashlib
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import orjson
import uvloop
from pydantic import ValidationError

from services.paper_venue.chain.artifacts import MissingArtifact, load_artifacts
from services.paper_venue.chain.deployment import Deployment, ForeignChain, deploy
from services.paper_venue.chain.sender import TransactionReverted
from services.paper_venue.chain.settlement import Settler
from services.paper_venue.chain.view import LocalChainView, verify
from services.paper_venue.clob.api import Clob, build_clob
from services.paper_venue.control.api import ControlApi
from services.paper_venue.control.faults import FaultsApi
from services.paper_venue.control.markets import MarketsApi
from services.paper_venue.control.resolution import ChainResolver
from services.paper_venue.data_api.activity_index import ActivityIndex
from services.paper_venue.data_api.api import DataApi
from services.paper_venue.data_api.approvals import ApprovalReader
from services.paper_venue.data_api.indexer import Indexer
from services.paper_venue.exchange.matching_engine import MatchingEngine
from services.paper_venue.faults.catalogue import Faults
from services.paper_venue.faults.clock import VenueClock, machine_ms
from services.paper_venue.faults.middleware import FaultMiddleware
from services.paper_venue.gamma.api import GammaApi
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.routing import PrefixedApi
from services.paper_venue.lifecycle.settlement import SettlementDelays, SettlementPipeline
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.periodic import run_periodically
from services.paper_venue.population import PreparedWorld, Work, populate, prepare_world
from services.paper_venue.relayer.api import RelayerApi
from services.paper_venue.relayer.keys import RelayerKeys
from services.paper_venue.relayer.sender import RelaySender
from services.paper_venue.serving import (
    build_application,
    build_facts,
    build_feeds,
    listen,
    open_hubs,
    socket_routes,
)
from services.paper_venue.settings import Settings
from services.paper_venue.sockets.channels import SocketChannels
from services.paper_venue.world.follower_accounts import FollowerAccounts
from services.paper_venue.world.opening import World
from services.paper_venue.world.trade_counter import TradeCounter
from shared.chain.addresses import POLYGON_CHAIN_ID
from shared.chain.client import ChainClient
from shared.domain.errors import InvalidSettings, Transient

_KEEP_ALIVE_INTERVAL_S = 5
_TIMER_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperVenue:
    """A venue that serves requests. All of ``work`` has to run beside it."""

    facts: Json
    work: tuple[Work, ...]

    async def run(self) -> None:
        """Run all work until cancelled; work that fails ends the rest and raises."""
        async with asyncio.TaskGroup() as tasks:
            for each in self.work:
                tasks.create_task(each())


async def open_venue(settings: Settings, closing: AsyncExitStack) -> PaperVenue:
    """Bring up a venue that serves until ``closing`` closes.

    Raises: ForeignChain, MissingArtifact, RecordingError, TransactionReverted, Transient,
    InvalidSettings (the port is taken).
    """
    faults = Faults(seed=settings.seed)
    now_ms = VenueClock(faults).now_ms
    deployment = await deploy(settings.rpc_url, load_artifacts(settings.npm_folder))
    closing.push_async_callback(deployment.rpc.close)
    prepared = await prepare_world(settings, deployment)
    faults.exempt(prepared.wallets.addresses)
    secret = hashlib.sha256(f"paper venue {settings.seed}".encode()).digest()
    keys = ApiKeyStore(secret=secret, chain_id=POLYGON_CHAIN_ID)
    hubs = open_hubs(faults, ping_within_s=settings.ping_timeout)
    feeds = build_feeds(hubs, settings, now_ms=now_ms, faults=faults)
    line = await _build_settlement_line(deployment, settings, faults=faults, now_ms=now_ms)
    chain = LocalChainView(deployment)
    venue = _build_venue(prepared, line, feeds, chain, faults)
    population = await populate(settings, prepared, venue, deployment, keys, now_ms)
    facts: Json = {}
    accounts = FollowerAccounts(deployment, venue, seed=settings.seed)
    control = ControlApi(
        venue, population.leaders, accounts, keys, lambda: facts | population.facts()
    )
    closing.push_async_callback(control.stop)
    relayer = await _build_relayer(deployment, settings, secret=secret)
    indexer, data_api = _build_data_api(deployment, venue, settings, faults=faults, now_ms=now_ms)
    clob = build_clob(venue, keys, chain.fetch_wallet, faults=faults, now_ms=now_ms)
    apis = (
        *clob.parts,
        PrefixedApi("/gamma", GammaApi(venue)),
        data_api,
        relayer,
        control,
        FaultsApi(faults, machine_ms=machine_ms),
        _build_markets_api(venue, deployment, prepared.world, now_ms),
    )
    interference = FaultMiddleware(faults, keys, now_ms=now_ms, machine_ms=machine_ms)
    http = build_application(apis, interference, socket_routes(hubs, venue, keys, now_ms=now_ms))
    facts |= build_facts(settings, await listen(http, settings, closing))
    if settings.trades_per_second:
        control.start(trades=sys.maxsize, per_second=settings.trades_per_second)
    work: list[Work] = [partial(line.run, venue), indexer.run, relayer.run, *population.work]
    return PaperVenue(facts=facts, work=(*work, *_timed_work(venue, clob, feeds, now_ms)))


def _build_venue(
    prepared: PreparedWorld,
    line: SettlementPipeline,
    feeds: SocketChannels,
    chain: LocalChainView,
    faults: Faults,
) -> Venue:
    """The venue, with its leader trades counted."""
    counter = TradeCounter(
        feeds,
        leaders=[each.address for each in prepared.wallets.leaders],
        crowd_traders=[each.address for each in prepared.wallets.crowd_traders],
    )
    venue = Venue(
        engine=MatchingEngine(prepared.world.markets),
        verify=verify,
        settlements=line,
        channels=counter,
        chain=chain,
        faults=faults,
    )
    counter.count_into(venue.stats)
    return venue


async def _build_settlement_line(
    deployment: Deployment, settings: Settings, *, faults: Faults, now_ms: Callable[[], int]
) -> SettlementPipeline:
    delays = SettlementDelays(
        before_broadcast=settings.broadcast_delay, before_confirmed=settings.confirm_delay
    )
    return SettlementPipeline(
        await Settler.start(deployment), delays=delays, faults=faults, now_ms=now_ms
    )


def _timed_work(
    venue: Venue, clob: Clob, feeds: SocketChannels, now_ms: Callable[[], int]
) -> tuple[Work, ...]:
    """What has to be done because time has passed."""
    return (
        partial(run_periodically, _TIMER_INTERVAL_S, clob.on_timer),
        partial(run_periodically, _TIMER_INTERVAL_S, lambda: venue.on_timer(now_ms())),
        partial(run_periodically, _KEEP_ALIVE_INTERVAL_S, feeds.send_keep_alive),
    )


def _build_markets_api(
    venue: Venue, deployment: Deployment, world: World, now_ms: Callable[[], int]
) -> MarketsApi:
    resolver = ChainResolver(
        deployment, world, is_resolved=lambda market: venue.engine.resolution(market) is not None
    )
    return MarketsApi(venue, resolver, now_ms=now_ms)


async def _build_relayer(
    deployment: Deployment, settings: Settings, *, secret: bytes
) -> RelayerApi:
    return RelayerApi(
        await RelaySender.start(deployment),
        RelayerKeys(secret=secret),
        confirm_delay_s=settings.confirm_delay,
    )


def _build_data_api(
    deployment: Deployment,
    venue: Venue,
    settings: Settings,
    *,
    faults: Faults,
    now_ms: Callable[[], int],
) -> tuple[Indexer, DataApi]:
    """The indexer that follows the chain, and the API that serves what it read."""
    index = ActivityIndex(venue.engine.market_by_token)
    indexer = Indexer(deployment.rpc, index, faults=faults, lag_s=settings.data_lag, now_ms=now_ms)
    approvals = ApprovalReader(ChainClient(deployment.rpc))
    data_api = DataApi(
        venue.engine,
        index,
        indexer=indexer,
        approvals=approvals,
        faults=faults,
        now_ms=now_ms,
        cache_s=settings.data_cache,
    )
    return indexer, data_api


async def serve(settings: Settings, *, as_json: bool) -> None:
    """Open a venue, print the ready line, and serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as closing:
        venue = await open_venue(settings, closing)
        ready = orjson.dumps(venue.facts).decode()
        if settings.ready_file is not None:
            settings.ready_file.write_text(ready)
        sys.stdout.write(
            (
                ready
                if as_json
                else f"paper venue at {venue.facts['urls']['clob']}, control at /control/world"
            )
            + "\n"
        )
        sys.stdout.flush()
        running, stopped = asyncio.create_task(venue.run()), asyncio.create_task(stop.wait())
        await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description="A local Polymarket on an anvil of its own.")
    arguments.add_argument(
        "--json", action="store_true", help="print the ready line, with every address, as JSON"
    )
    as_json: bool = arguments.parse_args().json
    try:
        uvloop.run(serve(Settings(), as_json=as_json))
    except ValidationError as error:
        wrong = "; ".join(
            f"PAPER_VENUE_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}"
            for each in error.errors()
        )
        sys.exit(f"paper venue: {wrong}")
    except (
        ForeignChain,
        InvalidSettings,
        MissingArtifact,
        TransactionReverted,
        Transient,
    ) as error:
        sys.exit(f"paper venue: {error}")
