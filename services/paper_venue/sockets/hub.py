"""The connections to one kind of socket: subscriptions, frames in and out, and disconnection."""

import asyncio
import base64
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable

import orjson
from aiohttp import WSMsgType, web

from services.paper_venue.http.payloads import Json

_BACKLOG = 10_000
"""Frames that may be queued for a connection; a client that reads too slowly is disconnected, as a
lost frame would be worse."""


def never_silent() -> bool:
    return False


class Connection:
    """One client at one socket. Frames are sent in order, and a slow client delays no other."""

    def __init__(
        self, socket: web.WebSocketResponse, number: int, is_silent: Callable[[], bool]
    ) -> None:
        self.id = base64.b64encode(number.to_bytes(12, "big")).decode()
        self.topics: set[str] = set()
        self.has_valid_frame = False
        """Whether it has sent a frame that the socket understands."""
        self.wants_custom_features = False
        self.owner: str | None = None
        """The API key with which it has authenticated."""
        self._socket = socket
        self._is_silent = is_silent
        self._frames: asyncio.Queue[str] = asyncio.Queue(_BACKLOG)
        self._is_lagging = False

    def send_event(self, frame: str) -> None:
        """Queue a frame, unless the socket is silent (a fault)."""
        if not self._is_silent():
            self.send_frame(frame)

    def send_frame(self, frame: str) -> None:
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self._is_lagging = True

    async def write(self) -> None:
        """Send queued frames until the client is disconnected for reading too slowly."""
        while not self._is_lagging:
            await self._socket.send_str(await self._frames.get())
        await self._socket.close(message=b"reads too slowly")


class SocketProtocol(ABC):
    """The protocol of one kind of socket."""

    pong = "PONG"

    @abstractmethod
    def on_frame(self, connection: Connection, frame: Json) -> bool:
        """Handle a client's frame. False: this socket does not understand it."""


class Hub:
    """The connections to one kind of socket, by the topics that they have subscribed to."""

    def __init__(
        self, *, is_silent: Callable[[], bool] = never_silent, ping_within_s: float | None = None
    ) -> None:
        """``ping_within_s``: a client that sends no ``PING`` for so long is disconnected, whatever
        else it sends; None: never.
        """
        self._is_silent = is_silent
        self._ping_within_s = ping_within_s
        self._by_topic: defaultdict[str, set[Connection]] = defaultdict(set)
        self._count = 0

    def subscribers(self, topics: Iterable[str]) -> set[Connection]:
        return {connection for topic in topics for connection in self._by_topic.get(topic, ())}

    def subscribe(self, connection: Connection, topics: Iterable[str]) -> None:
        for topic in topics:
            connection.topics.add(topic)
            self._by_topic[topic].add(connection)

    def unsubscribe(self, connection: Connection, topics: Iterable[str]) -> None:
        for topic in list(topics):
            connection.topics.discard(topic)
            self._by_topic[topic].discard(connection)
            if not self._by_topic[topic]:
                del self._by_topic[topic]

    async def serve(self, request: web.Request, protocol: SocketProtocol) -> web.WebSocketResponse:
        """Serve one client until it disconnects, sends no ``PING`` in time, or begins with a frame
        that this socket does not understand.
        """
        socket = web.WebSocketResponse(autoping=True, max_msg_size=1 << 22)
        await socket.prepare(request)
        self._count += 1
        connection = Connection(socket, self._count, self._is_silent)
        writer = asyncio.create_task(connection.write())
        try:
            await self._listen(socket, connection, protocol)
        finally:
            self.unsubscribe(connection, connection.topics)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await socket.close()
        return socket

    async def _listen(
        self, socket: web.WebSocketResponse, connection: Connection, protocol: SocketProtocol
    ) -> None:
        deadline = self._next_deadline()
        while (text := await _next_text(socket, deadline)) is not None:
            if text == "PING":
                deadline = self._next_deadline()
                connection.send_frame(protocol.pong)
            elif not _handle_frame(connection, text, protocol):
                return

    def _next_deadline(self) -> float | None:
        return (
            None
            if self._ping_within_s is None
            else asyncio.get_running_loop().time() + self._ping_within_s
        )


async def _next_text(socket: web.WebSocketResponse, deadline: float | None) -> str | None:
    """The next text frame. None: the client disconnected, sent bytes, or the deadline (by the
    loop's clock) has passed.
    """
    try:
        async with asyncio.timeout_at(deadline):
            message = await socket.receive()
    except TimeoutError:
        return None
    return str(message.data) if message.type is WSMsgType.TEXT else None


def _handle_frame(connection: Connection, text: str, protocol: SocketProtocol) -> bool:
    """Handle a frame. False: neither it nor any frame before it was understood; later frames that
    are not understood are ignored.
    """
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        frame = None
    if isinstance(frame, dict) and protocol.on_frame(connection, frame):
        connection.has_valid_frame = True
    return connection.has_valid_frame
