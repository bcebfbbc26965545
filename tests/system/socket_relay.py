"""A relay in front of one of the venue's sockets, which a test can cut."""

import asyncio
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"


class SocketRelay:
    """Passes connections on to a server. While it is cut, there are none, and nothing listens."""

    def __init__(self, *, port: int, target_port: int) -> None:
        self.port, self.target_port = port, target_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.cut()

    async def cut(self) -> None:
        """End every connection, and accept no other."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for client in self._connections:
            client.close()

    async def restore(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, HOST, self.port)

    async def _relay(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self._connections.add(client)
        try:
            server_reader, server = await asyncio.open_connection(HOST, self.target_port)
            try:
                await asyncio.wait(
                    [
                        asyncio.create_task(_copy(reader, server)),
                        asyncio.create_task(_copy(server_reader, client)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                server.close()
        except OSError:
            pass
        finally:
            client.close()
            self._connections.discard(client)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
