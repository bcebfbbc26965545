"""The channel against a real websocket server: reconnection, silence, and sending."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from shared.observe import metrics
from shared.polymarket.sockets import Channel, ChannelSettings
from shared.testing.waiting import eventually


class FakeServer:
    """A server that answers pings and records the other frames."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.sockets: list[ServerConnection] = []

    async def serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        try:
            async for frame in socket:
                if frame == "PING":
                    await socket.send("PONG")
                else:
                    self.received.append(str(frame))
        except ConnectionClosed:
            return


@asynccontextmanager
async def running(server: FakeServer) -> AsyncIterator[str]:
    listener: Server
    async with serve(server.serve, "127.0.0.1", 0) as listener:
        yield f"ws://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"


@asynccontextmanager
async def collecting(channel: Channel) -> AsyncIterator[list[str | None]]:
    frames: list[str | None] = []

    async def collect() -> None:
        async for frame in channel.frames():
            frames.append(frame)

    task = asyncio.create_task(collect())
    try:
        yield frames
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def settings(
    url: str,
    *,
    silence_timeout_s: float = 30,
    pong_is_alive: bool = False,
    data_is_alive: bool = True,
) -> ChannelSettings:
    return ChannelSettings(
        name=metrics.Feed.RTDS,
        url=url,
        ping_interval_s=0.05,
        silence_timeout_s=silence_timeout_s,
        pong_is_alive=pong_is_alive,
        data_is_alive=data_is_alive,
    )


async def test_a_new_socket_is_subscribed_and_reported_before_its_frames() -> None:
    server = FakeServer()
    async with (
        running(server) as url,
        collecting(Channel(settings(url), lambda: ["subscribe"])) as frames,
    ):
        await eventually(lambda: server.received == ["subscribe"])
        await server.sockets[0].send("one")
        await eventually(lambda: frames == [None, "one"])


async def test_a_lost_socket_is_reopened_and_subscribed_again() -> None:
    server = FakeServer()
    async with (
        running(server) as url,
        collecting(Channel(settings(url), lambda: ["subscribe"])) as frames,
    ):
        await eventually(lambda: len(server.received) == 1)
        await server.sockets[0].close()
        await eventually(lambda: len(server.received) == 2)
        await server.sockets[1].send("after")
        await eventually(lambda: frames == [None, None, "after"])


async def test_a_socket_with_pongs_but_without_data_is_reopened() -> None:
    server = FakeServer()
    async with (
        running(server) as url,
        collecting(Channel(settings(url, silence_timeout_s=0.3), lambda: ["subscribe"])),
    ):
        await eventually(lambda: len(server.received) >= 3)
        assert server.received[:3] == ["subscribe"] * 3


async def test_a_socket_with_pongs_is_kept_where_pongs_count() -> None:
    server = FakeServer()
    async with (
        running(server) as url,
        collecting(
            Channel(settings(url, silence_timeout_s=2, pong_is_alive=True), lambda: [])
        ) as frames,
    ):
        await eventually(lambda: frames == [None])
        opened_at = asyncio.get_running_loop().time()
        # Longer than the silence timeout.
        await eventually(lambda: asyncio.get_running_loop().time() - opened_at > 3)
        assert len(server.sockets) == 1


async def test_a_socket_whose_frames_nobody_can_read_is_reopened_while_they_keep_coming() -> None:
    server = FakeServer()
    async with (
        running(server) as url,
        collecting(Channel(settings(url, silence_timeout_s=0.3, data_is_alive=False), list)),
    ):
        await eventually(lambda: flooded(server))


async def flooded(server: FakeServer) -> bool:
    """Send to the open socket; whether another one was opened by now."""
    for socket in server.sockets[-1:]:
        with suppress(ConnectionClosed):
            await socket.send("unreadable")
    return len(server.sockets) >= 3


async def test_a_socket_with_a_readable_frame_now_and_then_is_kept() -> None:
    server = FakeServer()
    async with running(server) as url:
        channel = Channel(settings(url, silence_timeout_s=2, data_is_alive=False), list)
        task = asyncio.create_task(mark_readable(channel))
        await eventually(lambda: server.sockets)
        ends_at = asyncio.get_running_loop().time() + 3  # longer than the timeout

        async def sent_until_the_end() -> bool:
            await server.sockets[0].send("readable")
            return asyncio.get_running_loop().time() > ends_at

        await eventually(sent_until_the_end)
        assert len(server.sockets) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def mark_readable(channel: Channel) -> None:
    async for frame in channel.frames():
        if frame == "readable":
            channel.mark_alive()


async def test_keep_alive_frames_are_not_data() -> None:
    server = FakeServer()
    async with running(server) as url, collecting(Channel(settings(url), lambda: [])) as frames:
        await eventually(lambda: frames == [None] and server.sockets)
        for frame in ("", "PONG", "data"):
            await server.sockets[0].send(frame)
        await eventually(lambda: frames == [None, "data"])


@pytest.mark.parametrize("times", [1, 3])
async def test_sent_frames_reach_the_open_socket(times: int) -> None:
    server = FakeServer()
    channel = Channel(settings("ws://127.0.0.1:1"), lambda: [])
    await channel.send("sent without a socket")
    async with running(server) as url:
        channel = Channel(settings(url), lambda: [])
        async with collecting(channel) as frames:
            await eventually(lambda: frames == [None])
            for number in range(times):
                await channel.send(str(number))
            await eventually(lambda: server.received == [str(number) for number in range(times)])
