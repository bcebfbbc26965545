"""The composition root: ``python -m services.paper_venue [--json]``."""

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
from services.paper_venue.control.api import Control
from services.paper_venue.control.operations import Operation
from services.paper_venue.control.resolving import ChainResolving
from services.paper_venue.data_api.activity_index import ActivityIndex
from services.paper_venue.data_api.api import DataApi
from services.paper_venue.data_api.approvals import ApprovalReader
from services.paper_venue.data_api.indexer import Indexer
from services.paper_venue.exchange.matching_engine import MatchingEngine
from services.paper_venue.faults.catalogue import Faults
from services.paper_venue.faults.clock import VenueClock, machine_ms
from services.paper_venue.faults.middleware import FaultMiddleware
from services.paper_venue.gamma.api import Gamma
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.routing import PrefixedApi
from services.paper_venue.lifecycle.settlement import SettlementDelays, SettlementPipeline
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.periodic import repeated
from services.paper_venue.population import Work, populate, set_up
from services.paper_venue.relayer.api import Relayer
from services.paper_venue.relayer.keys import RelayerKeys
from services.paper_venue.relayer.relays import Relays
from services.paper_venue.serving import (
    application,
    facts_of,
    feeds_of,
    listen,
    open_hubs,
    socket_routes,
)
from services.paper_venue.settings import Settings
from services.paper_venue.sockets.channels import SocketChannels
from services.paper_venue.world.opening import Followers, World
from services.paper_venue.world.tally import Tally
from shared.chain.addresses import POLYGON_CHAIN_ID
from shared.chain.client import ChainClient
from shared.domain.errors import InvalidSettings, Transient

_KEEP_ALIVE_EVERY_S = 5
_LOOK_AT_CLOCK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperVenue:
    """A venue that answers. ``work`` runs beside it; the venue is whole only while all of it runs."""

    facts: Json
    work: tuple[Work, ...]

    async def run(self) -> None:
        """Until cancelled; a part that fails ends the others and raises."""
        async with asyncio.TaskGroup() as tasks:
            for part in self.work:
                tasks.create_task(part())


async def open_venue(settings: Settings, closing: AsyncExitStack) -> PaperVenue:
    """Bring up a venue that stays until ``closing`` closes.

    Raises: ForeignChain, MissingArtifact, TransactionReverted, Transient, InvalidSettings (the port
    is taken).
    """
    faults = Faults(seed=settings.seed)
    now_ms = VenueClock(faults).now_ms
    deployment = await deploy(settings.rpc_url, load_artifacts(settings.npm_folder))
    closing.push_async_callback(deployment.rpc.close)
    setting = await set_up(settings, deployment)
    house, world = setting.house, setting.world
    faults.exempt(wallet.address for wallet in (*house.makers, *house.leaders, *house.crowd))
    secret = hashlib.sha256(f"paper venue {settings.seed}".encode()).digest()
    keys = ApiKeyStore(secret=secret, chain_id=POLYGON_CHAIN_ID)
    hubs = open_hubs(faults, ping_within_s=settings.ping_within)
    feeds = feeds_of(hubs, settings, now_ms=now_ms, faults=faults)
    line = await _settlement_line(deployment, settings, faults=faults, now_ms=now_ms)
    chain = LocalChainView(deployment)
    relayer = Relayer(
        await Relays.start(deployment),
        RelayerKeys(secret=secret),
        confirm_delay_s=settings.confirm_delay,
    )
    tally = Tally(
        feeds,
        leaders=[each.address for each in house.leaders],
        crowd=[each.address for each in house.crowd],
    )
    venue = Venue(
        engine=MatchingEngine(world.markets),
        verify=verify,
        settlements=line,
        channels=tally,
        chain=chain,
        faults=faults,
    )
    tally.count_into(venue.stats)
    people = await populate(settings, setting, venue, deployment, keys, now_ms)
    facts: Json = {}
    control = Control(
        venue,
        people.leaders,
        Followers(deployment, venue, seed=settings.seed),
        keys,
        lambda: facts | people.facts(),
    )
    closing.push_async_callback(control.stop)
    indexer, data = _data_api(deployment, venue.engine, settings, faults=faults, now_ms=now_ms)
    clob = build_clob(venue, keys, chain.wallet_of, faults=faults, now_ms=now_ms)
    parts = (
        *clob.parts,
        PrefixedApi("/gamma", Gamma(venue)),
        data,
        relayer,
        control,
        _operation(faults, venue, deployment, world, now_ms),
    )
    http = application(
        parts,
        FaultMiddleware(faults, now_ms=now_ms, machine_ms=machine_ms),
        socket_routes(hubs, venue, keys, now_ms=now_ms),
    )
    facts |= facts_of(settings, await listen(http, settings, closing))
    if settings.trades_per_second:
        control.start(trades=sys.maxsize, per_second=settings.trades_per_second)
    return PaperVenue(
        facts=facts,
        work=(
            partial(line.run, venue),
            indexer.run,
            relayer.run,
            *people.work,
            *_by_the_clock(venue, clob, feeds, now_ms),
        ),
    )


async def _settlement_line(
    deployment: Deployment, settings: Settings, *, faults: Faults, now_ms: Callable[[], int]
) -> SettlementPipeline:
    delays = SettlementDelays(
        before_broadcast=settings.broadcast_delay, before_confirmed=settings.confirm_delay
    )
    return SettlementPipeline(
        await Settler.start(deployment), delays=delays, faults=faults, now_ms=now_ms
    )


def _by_the_clock(
    venue: Venue, clob: Clob, feeds: SocketChannels, now_ms: Callable[[], int]
) -> tuple[Work, ...]:
    """What is due because time has passed."""
    return (
        partial(repeated, _LOOK_AT_CLOCK_EVERY_S, clob.on_timer),
        partial(repeated, _LOOK_AT_CLOCK_EVERY_S, lambda: venue.on_timer(now_ms())),
        partial(repeated, _KEEP_ALIVE_EVERY_S, feeds.send_keep_alive),
    )


def _operation(
    faults: Faults, venue: Venue, deployment: Deployment, world: World, now_ms: Callable[[], int]
) -> Operation:
    resolving = ChainResolving(
        deployment, world, is_resolved=lambda market: venue.engine.resolution(market) is not None
    )
    return Operation(faults, venue, resolving, now_ms=now_ms, machine_ms=machine_ms)


def _data_api(
    deployment: Deployment,
    engine: MatchingEngine,
    settings: Settings,
    *,
    faults: Faults,
    now_ms: Callable[[], int],
) -> tuple[Indexer, DataApi]:
    """Who follows the chain, and who answers from what was read."""
    index = ActivityIndex(engine.market_by_token)
    indexer = Indexer(deployment.rpc, index, faults=faults, lag_s=settings.data_lag, now_ms=now_ms)
    approvals = ApprovalReader(ChainClient(deployment.rpc))
    data = DataApi(
        engine,
        index,
        indexer=indexer,
        approvals=approvals,
        faults=faults,
        now_ms=now_ms,
        cache_s=settings.data_cache,
    )
    return indexer, data


async def serve(settings: Settings, *, as_json: bool) -> None:
    """Open, say so, and stay until SIGINT or SIGTERM."""
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
