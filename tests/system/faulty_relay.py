"""A TCP relay that misbehaves as networks do, between any two programs: a service, the database, a
broker, the node, the venue.

Faults can be changed while connections are open, and concern what passes from then on. Together
they are what toxiproxy offers, without another program to install.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK_BYTES = 2**16
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends a reset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What happens to bytes on their way. Without any, they pass."""

    latency_s: float = 0
    """How long each piece is held up, in either direction."""
    bytes_per_second: float | None = None
    """The bandwidth of each direction of each connection."""
    swallows_requests: bool = False
    """What clients send is accepted and does not arrive."""
    swallows_answers: bool = False
    """What the server sends does not arrive."""
    cut_after_bytes: int | None = None
    """The connection is reset once the server has sent so many bytes on it."""


NO_FAULTS = Faults()
BLACK_HOLE = Faults(swallows_requests=True, swallows_answers=True)
"""Connections are accepted, nothing passes, nothing is reset."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Connection:
    """One client's connection and the one to the server that belongs to it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    is_lost: bool = False
    """Bytes of it were swallowed: nothing passes any more, also not after the fault, for what would
    arrive then is no stream of its protocol."""
    answered_bytes: int = 0

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                reset(writer)


async def hold_up(seconds: float) -> None:
    """Let time pass, as the network does."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


@dataclass(slots=True, kw_only=True)
class FaultyRelay:
    """Passes connections on to ``target_port``, with the faults of the moment. An async context
    manager; it listens at ``port``, which is any free one where it is 0.
    """

    target_port: int
    port: int = 0
    faults: Faults = NO_FAULTS
    hold_up: Callable[[float], Awaitable[None]] = hold_up
    swallowed_bytes: int = 0
    accepted: int = 0
    """How many connections clients have opened."""
    _server: asyncio.Server | None = field(default=None, init=False)
    _connections: set[_Connection] = field(default_factory=set, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        """Accept connections, at the start and after ``refuse``."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Accept no more connections. Open ones go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def reset(self) -> None:
        """Reset every open connection, at both ends."""
        for connection in tuple(self._connections):
            connection.reset()

    @asynccontextmanager
    async def with_faults(self, faults: Faults) -> AsyncIterator[None]:
        """These faults within the block, and none after it."""
        self.faults = faults
        try:
            yield
        finally:
            self.faults = NO_FAULTS

    def change(self, **changed: object) -> None:
        """Change some of the faults, and keep the others."""
        self.faults = replace(self.faults, **changed)  # type: ignore[arg-type]

    def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        connection = _Connection(client=client)
        self._connections.add(connection)
        self.accepted += 1
        task = asyncio.create_task(self._serve(reader, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        try:
            await self._relay(reader, connection)
        except OSError:
            connection.reset()
        finally:
            self._connections.discard(connection)
            for writer in (connection.client, connection.server):
                if writer is not None:
                    writer.close()

    async def _relay(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        answers, server = await asyncio.open_connection(HOST, self.target_port)
        connection.server = server
        pumps = [
            asyncio.create_task(self._pump(reader, server, connection, is_request=True)),
            asyncio.create_task(
                self._pump(answers, connection.client, connection, is_request=False)
            ),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        *,
        is_request: bool,
    ) -> None:
        """Pass on what comes. Raises: OSError where either end was reset."""
        while data := await reader.read(CHUNK_BYTES):
            await self._delay(len(data))
            if self._swallows(connection, is_request=is_request):
                connection.is_lost = True
                self.swallowed_bytes += len(data)
                continue
            limit = None if is_request else self.faults.cut_after_bytes
            if limit is not None:
                data = data[: max(0, limit - connection.answered_bytes)]
            writer.write(data)
            await writer.drain()
            if not is_request:
                connection.answered_bytes += len(data)
            if limit is not None and connection.answered_bytes >= limit:
                connection.reset()
        if not connection.is_lost and writer.can_write_eof():
            writer.write_eof()

    async def _delay(self, size: int) -> None:
        bandwidth = self.faults.bytes_per_second
        delay_s = self.faults.latency_s + (size / bandwidth if bandwidth is not None else 0)
        if delay_s:
            await self.hold_up(delay_s)

    def _swallows(self, connection: _Connection, *, is_request: bool) -> bool:
        if connection.is_lost:
            return True
        return self.faults.swallows_requests if is_request else self.faults.swallows_answers


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection without a farewell."""
    peer = writer.get_extra_info("socket")
    if peer is not None and peer.fileno() != -1:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
