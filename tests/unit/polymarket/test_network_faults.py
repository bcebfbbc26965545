"""A network that misbehaves between us and the venue: what was never sent is known to be, and what
may have been sent is not.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.domain.errors import Transient
from shared.observe import metrics
from shared.polymarket import connections
from shared.polymarket.clob import Clob
from shared.polymarket.http_client import load_system_tls
from shared.polymarket.replies import Duplicated, ReplyLost, RetryLater
from shared.polymarket.settings import VenueSettings
from shared.polymarket.signing import Credentials
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.testing.waiting import eventually
from tests.builders import NOON, PROXY
from tests.certificates import make_certificate, make_server_context
from tests.fakes import Clock
from tests.system.faulty_relay import BLACK_HOLE, HOST, NO_FAULTS, Faults, FaultyRelay

CREDENTIALS = Credentials(address=PROXY, key="k", secret="dGhlLXNlY3JldA==", passphrase="p")


class Venue:
    """Counts the orders that arrive, and knows each already."""

    def __init__(self) -> None:
        self.orders = 0
        self.sockets = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/ws":
            return await self._serve_socket(request)
        if request.path == "/midpoint":
            return web.json_response({"mid": "0.5"})
        self.orders += 1
        return web.json_response(
            {"success": False, "errorMsg": "order 0x1 is invalid. Duplicated."}
        )

    async def _serve_socket(self, request: web.Request) -> web.WebSocketResponse:
        self.sockets += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for frame in socket:
            await socket.send_str("PONG" if frame.data == "PING" else str(frame.data))
        return socket


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
async def relay(venue: Venue) -> AsyncIterator[FaultyRelay]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.answer)
    async with TestServer(application) as server:
        assert server.port is not None
        async with FaultyRelay(target_port=server.port) as relay:
            yield relay


@pytest.fixture
async def clob(relay: FaultyRelay) -> AsyncIterator[Clob]:
    settings = VenueSettings.model_validate(
        {"clob_url": f"http://{HOST}:{relay.port}", "venue_timeout_s": 0.5}
    )
    async with Clob(settings, now=Clock(NOON)) as clob:
        yield clob


async def test_a_venue_that_refuses_connections_has_no_order(
    clob: Clob, relay: FaultyRelay, venue: Venue
) -> None:
    relay.refuse()

    assert isinstance(await clob.post_order("{}", CREDENTIALS), RetryLater)
    with pytest.raises(Transient):
        await clob.fetch_midpoint("1")

    await relay.listen()
    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)
    assert venue.orders == 1


@pytest.mark.parametrize(
    ("faults", "arrived"),
    [
        (BLACK_HOLE, 0),
        (Faults(swallows_answers=True), 1),
        (Faults(cut_after_bytes=20), 1),
    ],
    ids=["black hole", "lost answer", "cut answer"],
)
async def test_an_order_whose_bytes_left_may_have_arrived(
    clob: Clob, relay: FaultyRelay, venue: Venue, faults: Faults, arrived: int
) -> None:
    async with relay.with_faults(faults):
        assert isinstance(await clob.post_order("{}", CREDENTIALS), ReplyLost)
        assert venue.orders == arrived

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)


async def test_an_order_on_a_connection_that_was_reset_may_have_arrived(
    clob: Clob, relay: FaultyRelay
) -> None:
    await clob.post_order("{}", CREDENTIALS)

    relay.reset()

    assert isinstance(await clob.post_order("{}", CREDENTIALS), ReplyLost | Duplicated)
    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)


async def test_an_order_after_its_kept_connection_was_reset_is_sent_on_a_new_one(
    clob: Clob, relay: FaultyRelay, venue: Venue
) -> None:
    await clob.post_order("{}", CREDENTIALS)

    relay.reset()
    await eventually(lambda: relay.connections == 0)

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)
    assert venue.orders == 2


async def test_an_order_on_a_kept_connection_into_a_black_hole_may_have_arrived(
    clob: Clob, relay: FaultyRelay, venue: Venue
) -> None:
    await clob.post_order("{}", CREDENTIALS)

    async with relay.with_faults(BLACK_HOLE):
        assert isinstance(await clob.post_order("{}", CREDENTIALS), ReplyLost)

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)
    assert (venue.orders, relay.accepted) == (2, 2)


@pytest.fixture
async def tls_relay(
    venue: Venue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FaultyRelay]:
    """Between us and a venue with TLS, whose certificate the system knows."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    load_system_tls.cache_clear()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", venue.answer)
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=make_server_context(certificate))
    assert server.port is not None
    async with FaultyRelay(target_port=server.port) as relay:
        yield relay
    await server.close()
    load_system_tls.cache_clear()


@pytest.fixture
async def tls_clob(tls_relay: FaultyRelay) -> AsyncIterator[Clob]:
    settings = VenueSettings.model_validate(
        {"clob_url": f"https://localhost:{tls_relay.port}", "venue_timeout_s": 3}
    )
    async with Clob(settings, now=Clock(NOON)) as clob:
        yield clob


@pytest.mark.parametrize(
    "faults",
    [BLACK_HOLE, Faults(swallows_answers=True), Faults(cut_after_bytes=20)],
    ids=["black hole", "lost answer", "cut answer"],
)
async def test_an_order_whose_handshake_failed_has_not_left(
    tls_clob: Clob,
    tls_relay: FaultyRelay,
    venue: Venue,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "CONNECT_WITHIN_S", 0.5)
    async with tls_relay.with_faults(faults):
        assert isinstance(await tls_clob.post_order("{}", CREDENTIALS), RetryLater)
        with pytest.raises(Transient):
            await tls_clob.fetch_midpoint("1")

    assert venue.orders == 0


async def test_an_order_after_its_handshake_may_have_arrived(
    tls_clob: Clob, tls_relay: FaultyRelay, venue: Venue
) -> None:
    assert isinstance(await tls_clob.post_order("{}", CREDENTIALS), Duplicated)

    async with tls_relay.with_faults(Faults(swallows_answers=True)):
        assert isinstance(await tls_clob.post_order("{}", CREDENTIALS), ReplyLost)

    assert isinstance(await tls_clob.post_order("{}", CREDENTIALS), Duplicated)
    assert (venue.orders, tls_relay.accepted) == (3, 2)


async def test_a_read_that_gets_no_answer_is_transient(clob: Clob, relay: FaultyRelay) -> None:
    async with relay.with_faults(BLACK_HOLE):
        with pytest.raises(Transient):
            await clob.fetch_midpoint("1")

    assert await clob.fetch_midpoint("1") == Decimal("0.5")


async def test_latency_costs_no_order(clob: Clob, relay: FaultyRelay) -> None:
    relay.faults = Faults(latency_s=0.02)

    assert isinstance(await clob.post_order("{}", CREDENTIALS), Duplicated)


async def test_a_socket_in_a_black_hole_is_opened_anew_after_it(
    relay: FaultyRelay, venue: Venue
) -> None:
    settings = ChannelSettings(
        name=metrics.Feed.RTDS,
        url=f"ws://{HOST}:{relay.port}/ws",
        ping_interval_s=0.05,
        silence_timeout_s=0.5,
        pong_is_alive=True,
    )
    frames = Channel(settings, lambda: ["subscribe"]).frames()
    assert isinstance(frames, AsyncGenerator)
    assert [await anext(frames), await anext(frames)] == [None, "subscribe"]
    relay.faults = BLACK_HOLE
    opened = relay.accepted

    async def lift() -> None:
        await eventually(lambda: relay.accepted > opened)
        relay.faults = NO_FAULTS

    lifting = asyncio.create_task(lift())
    while (frame := await anext(frames)) != "subscribe":
        assert frame in (None, "PONG")

    await lifting
    assert venue.sockets >= 2
    await frames.aclose()
