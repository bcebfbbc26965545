"""A channel survives its sockets, and believes their data more than their pongs. Against a real
websocket server of the test.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from shared.observe import metrics
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.testing.waiting import eventually


class Feed:
    """A server that answers pings, keeps what it is told, and says what the test says."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.sockets: list[ServerConnection] = []

    async def serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        try:
            async for frame in socket:
                if frame == "PING":
                    await socket.send("PONG")
                else:
                    self.heard.append(str(frame))
        except ConnectionClosed:
            return


@asynccontextmanager
async def running(feed: Feed) -> AsyncIterator[str]:
    server: Server
    async with serve(feed.serve, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def listening(channel: Channel) -> AsyncIterator[list[str | None]]:
    frames: list[str | None] = []

    async def listen() -> None:
        async for frame in channel.frames():
            frames.append(frame)

    task = asyncio.create_task(listen())
    try:
        yield frames
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def terms(url: str, *, silent_after_s: float = 30, pongs_count: bool = False) -> ChannelSettings:
    return ChannelSettings(
        name=metrics.Feed.RTDS,
        url=url,
        ping_every_s=0.05,
        silent_after_s=silent_after_s,
        pongs_count=pongs_count,
    )


async def test_a_new_socket_is_greeted_and_told_apart_from_its_frames() -> None:
    feed = Feed()
    async with (
        running(feed) as url,
        listening(Channel(terms(url), lambda: ["subscribe"])) as frames,
    ):
        await eventually(lambda: feed.heard == ["subscribe"])
        await feed.sockets[0].send("one")
        await eventually(lambda: frames == [None, "one"])


async def test_a_lost_socket_is_replaced_and_subscribed_anew() -> None:
    feed = Feed()
    async with (
        running(feed) as url,
        listening(Channel(terms(url), lambda: ["subscribe"])) as frames,
    ):
        await eventually(lambda: len(feed.heard) == 1)
        await feed.sockets[0].close()
        await eventually(lambda: len(feed.heard) == 2)
        await feed.sockets[1].send("after")
        await eventually(lambda: frames == [None, None, "after"])


async def test_a_socket_that_answers_pings_but_brings_no_data_is_opened_anew() -> None:
    feed = Feed()
    async with (
        running(feed) as url,
        listening(Channel(terms(url, silent_after_s=0.3), lambda: ["subscribe"])),
    ):
        await eventually(lambda: len(feed.heard) >= 3)
        assert feed.heard[:3] == ["subscribe"] * 3


async def test_where_silence_is_legal_pongs_keep_the_socket() -> None:
    feed = Feed()
    async with (
        running(feed) as url,
        listening(Channel(terms(url, silent_after_s=2, pongs_count=True), lambda: [])) as frames,
    ):
        await eventually(lambda: frames == [None])
        opened_at = asyncio.get_running_loop().time()
        await eventually(
            lambda: asyncio.get_running_loop().time() - opened_at > 3
        )  # longer than the silence that it would not survive
        assert len(feed.sockets) == 1


async def test_keep_alive_frames_are_not_data() -> None:
    feed = Feed()
    async with running(feed) as url, listening(Channel(terms(url), lambda: [])) as frames:
        await eventually(lambda: frames == [None] and feed.sockets)
        for frame in ("", "PONG", "data"):
            await feed.sockets[0].send(frame)
        await eventually(lambda: frames == [None, "data"])


@pytest.mark.parametrize("times", [1, 3])
async def test_what_is_sent_reaches_the_open_socket(times: int) -> None:
    feed = Feed()
    channel = Channel(terms("ws://127.0.0.1:1"), lambda: [])
    await channel.send("nobody listens, and nobody is hurt")
    async with running(feed) as url:
        channel = Channel(terms(url), lambda: [])
        async with listening(channel) as frames:
            await eventually(lambda: frames == [None])
            for number in range(times):
                await channel.send(str(number))
            await eventually(lambda: feed.heard == [str(number) for number in range(times)])
