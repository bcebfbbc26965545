"""The composition root: ``python -m services.paper_venue [--json]``."""

import argparse
import asyncio
import hashlib
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import orjson
import uvloop
from aiohttp import web
from pydantic import ValidationError

from services.paper_venue.adapters import LocalChainView, verify, wallet_of
from services.paper_venue.auth import Keys
from services.paper_venue.chain.artifacts import MissingArtifact, load_artifacts
from services.paper_venue.chain.deployment import ForeignChain, deploy
from services.paper_venue.chain.sender import TransactionReverted
from services.paper_venue.chain.settlement import Settler
from services.paper_venue.control import Control
from services.paper_venue.engine import Engine
from services.paper_venue.frames import Json
from services.paper_venue.gamma import Gamma
from services.paper_venue.handler import Venue
from services.paper_venue.market_data import MarketData
from services.paper_venue.relayer import Relayer
from services.paper_venue.responses import refusals
from services.paper_venue.settings import Settings
from services.paper_venue.settlement import SettlementDelays, SettlementLine
from services.paper_venue.sockets import ActivitySocket, Hub, MarketSocket, SocketFeeds, UserSocket
from services.paper_venue.trading import Trading
from services.paper_venue.world import Followers, create_house, leaders_of, open_books, open_markets
from shared.chain.addresses import CONDITIONAL_TOKENS, EXCHANGE_V2, POLYGON_CHAIN_ID, PUSD
from shared.domain.errors import InvalidSettings, Transient

_REFILL_EVERY_S = 0.05
_KEEP_ALIVE_EVERY_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperVenue:
    """A venue that answers. ``work`` runs beside it; the venue is whole only while all of it runs."""

    facts: Json
    work: tuple[Callable[[], Coroutine[None, None, None]], ...]

    async def run(self) -> None:
        """Until cancelled; a part that fails ends the others and raises."""
        async with asyncio.TaskGroup() as tasks:
            for part in self.work:
                tasks.create_task(part())


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def open_venue(settings: Settings, closing: AsyncExitStack) -> PaperVenue:
    """Bring up a venue that stays until ``closing`` closes.

    Raises: ForeignChain, MissingArtifact, TransactionReverted, Transient, InvalidSettings (the port is taken).
    """
    deployment = await deploy(settings.rpc_url, load_artifacts(settings.npm_folder))
    closing.push_async_callback(deployment.rpc.close)
    house = await create_house(deployment, seed=settings.seed, leaders=settings.leaders)
    world = await open_markets(deployment, house, seed=settings.seed, count=settings.markets, quote_shares=settings.quote_shares)
    keys = Keys(secret=hashlib.sha256(f"paper venue {settings.seed}".encode()).digest(), chain_id=POLYGON_CHAIN_ID)
    hubs = {name: Hub() for name in ("market", "user", "activity")}
    feeds = SocketFeeds(**hubs, now_ms=now_ms, activity_delay_s=settings.activity_delay)
    delays = SettlementDelays(before_broadcast=settings.broadcast_delay, before_confirmed=settings.confirm_delay)
    line = SettlementLine(await Settler.start(deployment), delays=delays, now_ms=now_ms)
    chain = LocalChainView(deployment)
    venue = Venue(engine=Engine(world.markets), verify=verify, settlements=line, feeds=feeds, chain=chain)
    makers = await open_books(venue, world, house, keys, quote_shares=settings.quote_shares, now_ms=now_ms())
    leaders = await leaders_of(venue, world, house, keys, seed=settings.seed, now_ms=now_ms)
    facts: Json = {}
    control = Control(venue, leaders, Followers(deployment, venue, seed=settings.seed), lambda: facts)
    closing.push_async_callback(control.stop)
    facts |= _facts(settings, await _listen(_routes(venue, keys, hubs, Relayer(chain), control), settings, closing))
    if settings.trades_per_second:
        control.start(trades=sys.maxsize, per_second=settings.trades_per_second)
    return PaperVenue(
        facts=facts,
        work=(
            partial(line.run, venue),
            partial(_repeat, _REFILL_EVERY_S, lambda: makers.refill(now_ms=now_ms())),
            partial(_repeat, _KEEP_ALIVE_EVERY_S, feeds.keep_alive),
        ),
    )


def _routes(venue: Venue, keys: Keys, hubs: Mapping[str, Hub], relayer: Relayer, control: Control) -> web.Application:
    http = web.Application(middlewares=[refusals], client_max_size=1 << 22)
    for part in (MarketData(venue, now_ms), Trading(venue, keys, wallet_of, now_ms), Gamma(venue), relayer, control):
        http.add_routes(part.routes())
    sockets = {
        "/ws/market": (hubs["market"], MarketSocket(hubs["market"], partial(_book_of, venue))),
        "/ws/user": (hubs["user"], UserSocket(hubs["user"], keys)),
        "/rtds": (hubs["activity"], ActivitySocket(hubs["activity"])),
    }
    http.add_routes([web.get(path, partial(hub.serve, protocol=protocol)) for path, (hub, protocol) in sockets.items()])
    return http


def _book_of(venue: Venue, token_id: str) -> Json | None:
    return venue.announcer.book_summary(token_id, now_ms=now_ms()) if token_id in venue.engine.market_by_token else None


async def _listen(http: web.Application, settings: Settings, closing: AsyncExitStack) -> int:
    """Serve, and return the port."""
    runner = web.AppRunner(http, access_log=None, shutdown_timeout=1)
    await runner.setup()
    closing.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    except OSError as error:
        remedy = "choose another by PAPER_VENUE_PORT, or 0 for any free one"
        raise InvalidSettings(f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): {remedy}") from error
    return int(runner.addresses[0][1])


def _facts(settings: Settings, port: int) -> Json:
    http, ws = f"http://{settings.host}:{port}", f"ws://{settings.host}:{port}"
    return {
        "urls": {
            "clob": http,
            "gamma": http,
            "relayer": http,
            "market_ws": f"{ws}/ws/market",
            "user_ws": f"{ws}/ws/user",
            "rtds": f"{ws}/rtds",
            "rpc": settings.rpc_url,
            "control": f"{http}/control",
        },
        "contracts": {"exchange_v2": EXCHANGE_V2, "conditional_tokens": CONDITIONAL_TOKENS, "pusd": PUSD},
        "chain_id": POLYGON_CHAIN_ID,
        "seed": settings.seed,
    }


async def _repeat(every_s: float, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(every_s)
        act()


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
        sys.stdout.write((ready if as_json else f"paper venue at {venue.facts['urls']['clob']}, control at /control/world") + "\n")
        sys.stdout.flush()
        running, stopped = asyncio.create_task(venue.run()), asyncio.create_task(stop.wait())
        await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description="A local Polymarket on an anvil of its own.")
    arguments.add_argument("--json", action="store_true", help="print the ready line, with every address, as JSON")
    as_json: bool = arguments.parse_args().json
    try:
        uvloop.run(serve(Settings(), as_json=as_json))
    except ValidationError as error:
        wrong = "; ".join(f"PAPER_VENUE_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in error.errors())
        sys.exit(f"paper venue: {wrong}")
    except (ForeignChain, InvalidSettings, MissingArtifact, TransactionReverted, Transient) as error:
        sys.exit(f"paper venue: {error}")
