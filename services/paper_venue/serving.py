"""Assembles the HTTP application and its sockets, and listens on the port."""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.faults.middleware import FaultMiddleware
from services.paper_venue.http.auth import ApiKeyStore
from services.paper_venue.http.payloads import Json
from services.paper_venue.http.responses import refusal_middleware
from services.paper_venue.http.routing import HttpApi
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.settings import Settings
from services.paper_venue.sockets.channels import ChannelDelays, SocketChannels
from services.paper_venue.sockets.hub import Hub
from services.paper_venue.sockets.protocols import ActivitySocket, MarketSocket, UserSocket
from shared.chain.addresses import (
    COLLATERAL_ADAPTER,
    CONDITIONAL_TOKENS,
    EXCHANGE_V2,
    EXCHANGE_V3,
    NEG_RISK_COLLATERAL_ADAPTER,
    NEG_RISK_EXCHANGE_V2,
    POLYGON_CHAIN_ID,
    POSITION_MANAGER,
    PUSD,
    ROUTER,
    SECOND_NEG_RISK_EXCHANGE_V2,
)
from shared.domain.errors import InvalidSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Hubs:
    """The connected clients of each kind of socket."""

    market: Hub
    user: Hub
    activity: Hub


def open_hubs(faults: Faults, *, ping_within_s: float) -> Hubs:
    """Only the CLOB's two sockets close connections that send no ``PING``; RTDS does not."""

    def is_silent() -> bool:
        return faults.trigger(Fault.SILENT_SOCKET) is not None

    return Hubs(
        market=Hub(is_silent=is_silent, ping_within_s=ping_within_s),
        user=Hub(is_silent=is_silent, ping_within_s=ping_within_s),
        activity=Hub(is_silent=is_silent),
    )


def build_feeds(
    hubs: Hubs, settings: Settings, *, now_ms: Callable[[], int], faults: Faults
) -> SocketChannels:
    delays = ChannelDelays(
        market=settings.market_delay, user=settings.user_delay, activity=settings.activity_delay
    )
    return SocketChannels(
        market=hubs.market,
        user=hubs.user,
        activity=hubs.activity,
        now_ms=now_ms,
        delays=delays,
        faults=faults,
    )


def build_application(
    parts: Iterable[HttpApi], interference: FaultMiddleware, sockets: Iterable[web.RouteDef]
) -> web.Application:
    http = web.Application(
        middlewares=[interference.handle, refusal_middleware], client_max_size=1 << 22
    )
    for part in (*parts, interference):
        http.add_routes(part.routes())
    http.add_routes(sockets)
    return http


def socket_routes(
    hubs: Hubs, venue: Venue, keys: ApiKeyStore, *, now_ms: Callable[[], int]
) -> list[web.RouteDef]:
    def build_book(token_id: str) -> Json | None:
        return (
            venue.publisher.book_summary(token_id, now_ms=now_ms())
            if token_id in venue.engine.market_by_token
            else None
        )

    sockets = {
        "/ws/market": (hubs.market, MarketSocket(hubs.market, build_book)),
        "/ws/user": (hubs.user, UserSocket(hubs.user, keys)),
        "/rtds": (hubs.activity, ActivitySocket(hubs.activity)),
    }
    return [
        web.get(path, partial(hub.serve, protocol=protocol))
        for path, (hub, protocol) in sockets.items()
    ]


async def listen(http: web.Application, settings: Settings, closing: AsyncExitStack) -> int:
    """Serve until ``closing`` closes, and return the port.

    Raises: InvalidSettings (the port is taken).
    """
    runner = web.AppRunner(http, access_log=None, shutdown_timeout=1)
    await runner.setup()
    closing.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    except OSError as error:
        remedy = "choose another by PAPER_VENUE_PORT, or 0 for any free one"
        raise InvalidSettings(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): {remedy}"
        ) from error
    return int(runner.addresses[0][1])


def build_facts(settings: Settings, port: int) -> Json:
    """The content of the ready line: addresses, contracts, chain id and seed."""
    http, ws = f"http://{settings.host}:{port}", f"ws://{settings.host}:{port}"
    return {
        "urls": {
            "clob": http,
            "gamma": f"{http}/gamma",
            "data": http,
            "relayer": http,
            "market_ws": f"{ws}/ws/market",
            "user_ws": f"{ws}/ws/user",
            "rtds": f"{ws}/rtds",
            "rpc": settings.rpc_url,
            "control": f"{http}/control",
        },
        "contracts": {
            "exchange_v2": EXCHANGE_V2,
            "neg_risk_exchange_v2": NEG_RISK_EXCHANGE_V2,
            "second_neg_risk_exchange_v2": SECOND_NEG_RISK_EXCHANGE_V2,
            "exchange_v3": EXCHANGE_V3,
            "conditional_tokens": CONDITIONAL_TOKENS,
            "position_manager": POSITION_MANAGER,
            "collateral_adapter": COLLATERAL_ADAPTER,
            "neg_risk_collateral_adapter": NEG_RISK_COLLATERAL_ADAPTER,
            "router": ROUTER,
            "pusd": PUSD,
        },
        "chain_id": POLYGON_CHAIN_ID,
        "seed": settings.seed,
    }
