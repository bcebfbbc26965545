"""The venue's sockets: replies, disconnections and delays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import WSMsgType, web

from services.paper_venue.http.payloads import Json
from services.paper_venue.sockets.channels import DelayQueue
from services.paper_venue.sockets.hub import Hub, SocketProtocol
from services.paper_venue.sockets.protocols import ActivitySocket, MarketSocket

SUMMARY: Json = {
    "market": "0x01",
    "asset_id": "1",
    "timestamp": "1",
    "hash": "",
    "bids": [],
    "asks": [],
    "tick_size": "0.01",
    "last_trade_price": "0.5",
}


@asynccontextmanager
async def connected(
    hub: Hub, protocol: SocketProtocol
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client at a socket of this kind."""
    http = web.Application()
    http.add_routes([web.get("/ws", partial(hub.serve, protocol=protocol))])
    runner = web.AppRunner(http)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{runner.addresses[0][1]}/ws") as socket,
        ):
            yield socket
    finally:
        await runner.cleanup()


def market_socket(hub: Hub) -> MarketSocket:
    return MarketSocket(hub, lambda token: SUMMARY | {"asset_id": token})


async def receive_json(socket: aiohttp.ClientWebSocketResponse) -> Any:
    return orjson.loads((await asyncio.wait_for(socket.receive(), 60)).data)


async def test_a_client_that_sends_no_ping_is_disconnected_whatever_else_it_sends() -> None:
    hub = Hub(ping_within_s=0.3)
    async with connected(hub, market_socket(hub)) as socket:
        await socket.send_json({"type": "market", "assets_ids": ["1"]})
        assert [book["asset_id"] for book in await receive_json(socket)] == ["1"]

        ended = await asyncio.wait_for(socket.receive(), 60)

    assert ended.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)


async def test_a_ping_is_answered_and_keeps_the_connection() -> None:
    hub = Hub(ping_within_s=60)
    async with connected(hub, market_socket(hub)) as socket:
        for _ in range(3):
            await socket.send_str("PING")
            assert (await socket.receive_str()) == "PONG"


@pytest.mark.parametrize(("tokens", "books"), [(500, 500), (501, None)])
async def test_a_connection_with_too_many_tokens_gets_no_initial_books(
    tokens: int, books: int | None
) -> None:
    hub = Hub()
    async with connected(hub, market_socket(hub)) as socket:
        await socket.send_json(
            {"type": "market", "assets_ids": [str(number) for number in range(tokens)]}
        )
        await socket.send_str("PING")
        first = (await asyncio.wait_for(socket.receive(), 60)).data

    assert first == "PONG" if books is None else len(orjson.loads(first)) == books


@pytest.mark.parametrize("topic", ["clob_market", "clob_user"])
async def test_a_retired_topic_is_refused_with_the_venues_text_and_nothing_is_subscribed(
    topic: str,
) -> None:
    hub = Hub()
    async with connected(hub, ActivitySocket(hub)) as socket:
        subscriptions = [{"topic": "activity", "type": "trades"}, {"topic": topic, "type": "*"}]
        await socket.send_json({"action": "subscribe", "subscriptions": subscriptions})
        answer = await receive_json(socket)

        assert (
            answer["statusCode"],
            answer["body"]["message"].startswith("CLOB messages are not supported anymore"),
        ) == (400, True)
        assert hub.subscribers(ActivitySocket.types) == set()


@pytest.mark.parametrize("frame", ["nonsense", '{"type":"user"}', "[]"])
async def test_a_first_frame_that_is_not_understood_ends_the_connection(frame: str) -> None:
    hub = Hub()
    async with connected(hub, market_socket(hub)) as socket:
        await socket.send_str(frame)

        assert (await asyncio.wait_for(socket.receive(), 60)).type in (
            WSMsgType.CLOSE,
            WSMsgType.CLOSING,
            WSMsgType.CLOSED,
        )


async def test_a_delay_queue_delays_actions_and_keeps_their_order() -> None:
    loop = asyncio.get_running_loop()
    ran: list[tuple[int, float]] = []
    done = asyncio.Event()

    def record(number: int) -> Callable[[], None]:
        def act() -> None:
            ran.append((number, loop.time()))
            if len(ran) == 3:
                done.set()

        return act

    started_at = loop.time()
    queue = DelayQueue(0.1)
    for number in range(3):
        queue.run_later(record(number))
    assert ran == []
    async with asyncio.timeout(60):
        await done.wait()

    assert [number for number, _ in ran] == [0, 1, 2]
    assert all(at - started_at >= 0.1 for _, at in ran)


async def test_a_delay_queue_without_a_delay_runs_an_action_immediately() -> None:
    ran: list[str] = []
    DelayQueue(0).run_later(lambda: ran.append("now"))
    assert ran == ["now"]
