"""A server that answers each request with given bytes."""

import asyncio
import re
import ssl
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.system.faulty_relay import HOST, reset

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@dataclass(frozen=True, slots=True)
class Answer:
    reply: bytes = OK
    then_closes: bool = False
    then_resets: bool = False


@dataclass(slots=True)
class ScriptedServer:
    """An async context manager. A request beyond the last answer gets none."""

    answers: deque[Answer]
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self.open):
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while True:
                self.requests.append(await _read_request(reader))
                if not self.answers:
                    continue
                answer = self.answers.popleft()
                writer.write(answer.reply)
                await writer.drain()
                if answer.then_resets:
                    reset(writer)
                if answer.then_closes:
                    return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return head + await reader.readexactly(int(length[1]) if length else 0)
