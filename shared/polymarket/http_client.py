"""A lean HTTP/1.1 client of one server: TLS, connections that are kept, and nothing else.

What was surely not sent is ``NotConnected``; where a byte may have left and no reply came, it is
``NoReply``. A connection that the server closed while it was idle is not used again. Redirects are
not followed (a signed request is meant for one server), and cookies and proxies of the environment
are not used.
"""

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from aiohappyeyeballs import start_connection

from shared.polymarket.http_connection import (
    ConnectionEnded,
    HttpConnection,
    HttpReply,
    NotConnected,
)

IDLE_S: Final = 50.0
"""A connection that is idle for longer is closed: before common servers and gateways do so, after
60 or 75 s."""
EYEBALLS_DELAY_S: Final = 0.25
"""After this the server's next address is tried too (RFC 8305)."""
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """In seconds."""

    connect_s: float
    """To open a connection: name, TCP and TLS."""
    acquire_s: float
    """To have a connection: to wait for a free one, and to open it."""
    reply_s: float
    """From then on, for the whole reply."""
    total_s: float
    """For everything."""


class HttpClient:
    """Requests to one server, with up to ``limit`` connections."""

    def __init__(
        self, base_url: str, *, limit: int, timeouts: Timeouts, tls: ssl.SSLContext | None = None
    ) -> None:
        """``base_url``: http or https, perhaps with a path that precedes all others, and with a
        user and password. ``tls`` None: the system's certificates.
        """
        url = urlsplit(base_url)
        assert url.hostname is not None
        self._host, self._is_tls = url.hostname, url.scheme == "https"
        self._port = url.port or (443 if self._is_tls else 80)
        self._prefix = url.path.rstrip("/")
        self._timeouts = timeouts
        self._tls = (tls or load_system_tls()) if self._is_tls else None
        self._static_lines = _list_static_lines(url.netloc)
        self._slots = asyncio.Semaphore(limit)
        self._idle: deque[tuple[HttpConnection, float]] = deque()
        """The longest idle first, each with the time until which it may be used."""
        self._busy: set[HttpConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> HttpReply:
        """Send a request and return the reply, whatever its status. A GET whose kept connection
        ends without any reply is sent once more, on a new one.

        Raises: NotConnected, NoReply.
        """
        request = self._build(method, path, headers or {}, query, body)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._timeouts.total_s
        is_kept, connection = await self._acquire()
        try:
            return await self._exchange(connection, request, ends_at - loop.time())
        except ConnectionEnded:
            if method != "GET" or not is_kept:
                raise
        _, connection = await self._acquire(is_new=True)
        return await self._exchange(connection, request, ends_at - loop.time())

    async def close(self) -> None:
        """Abort every connection: who waits for a reply gets ``NoReply``."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in (*self._busy, *(each for each, _ in self._idle)):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # they are told in the loop's next turn

    async def _exchange(
        self, connection: HttpConnection, request: bytes, left_s: float
    ) -> HttpReply:
        self._busy.add(connection)
        try:
            return await connection.exchange(
                request, within_s=max(0.0, min(self._timeouts.reply_s, left_s))
            )
        finally:
            self._busy.discard(connection)
            self._release(connection)

    async def _acquire(self, *, is_new: bool = False) -> tuple[bool, HttpConnection]:
        """A connection, and whether it was used before. Raises: NotConnected."""
        if not is_new and not self._slots.locked():
            await self._slots.acquire()  # at once
            if (kept := self._take_idle()) is not None:
                return True, kept
            self._slots.release()
        try:
            async with asyncio.timeout(self._timeouts.acquire_s):
                await self._slots.acquire()
                try:
                    if not is_new and (kept := self._take_idle()) is not None:
                        return True, kept
                    return False, await self._connect()
                except BaseException:
                    self._slots.release()
                    raise
        except (OSError, TimeoutError) as error:
            raise NotConnected(type(error).__name__) from None

    def _take_idle(self) -> HttpConnection | None:
        """The connection that was used last; None: there is none that still can be."""
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection, until_s = self._idle.pop()
            if connection.is_open and now_s < until_s and not connection.is_stale():
                return connection
            connection.abort()
        return None

    def _release(self, connection: HttpConnection) -> None:
        self._slots.release()
        if self._is_closed or not connection.is_open:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        kept_for_s = connection.kept_for_s
        idle_s = IDLE_S if kept_for_s is None else min(IDLE_S, kept_for_s - 1)
        until_s = loop.time() + idle_s
        self._idle.append((connection, until_s))
        if self._sweep is None:
            self._sweep = loop.call_at(until_s, self._close_idle)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        kept = [(each, until_s) for each, until_s in self._idle if each.is_open and now_s < until_s]
        for connection in {each for each, _ in self._idle} - {each for each, _ in kept}:
            connection.abort()
        self._idle = deque(kept)
        next_s = min((until_s for _, until_s in kept), default=None)
        self._sweep = None if next_s is None else loop.call_at(next_s, self._close_idle)

    async def _connect(self) -> HttpConnection:
        """Raises: OSError, TimeoutError."""
        if self._is_closed:
            raise ConnectionAbortedError("the client is closed")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeouts.connect_s):
            addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            opened = await start_connection(
                addresses, happy_eyeballs_delay=EYEBALLS_DELAY_S, interleave=1
            )
            try:
                _, connection = await loop.create_connection(
                    partial(HttpConnection, loop),
                    sock=opened,
                    ssl=self._tls,
                    server_hostname=self._host if self._is_tls else None,
                )
            except BaseException:
                opened.close()
                raise
        return connection

    def _build(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None,
        body: bytes,
    ) -> bytes:
        """Raises: ValueError where a header has a line break."""
        lines = "".join([f"{name}: {text}\r\n" for name, text in headers.items()])
        if not lines.count("\r") == lines.count("\n") == len(headers):
            raise ValueError("a header has a line break")
        target = self._prefix + (path if _PLAIN_PATH.fullmatch(path) else quote(path, safe="/:@"))
        if query:
            target += "?" + urlencode(query)
        # An order's reply is small: compressing it would take longer than sending it.
        size = (
            f"Content-Length: {len(body)}\r\n"
            if method == "POST"
            else "Accept-Encoding: gzip, deflate\r\n"
        )
        return (
            f"{method} {target} HTTP/1.1\r\n{self._static_lines}{size}{lines}\r\n".encode() + body
        )


@cache
def load_system_tls() -> ssl.SSLContext:
    """Verifies certificate and name by the system's certificates (``SSL_CERT_FILE``, if it is
    set).
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(("http/1.1",))
    return context


def _list_static_lines(netloc: str) -> str:
    """The headers that all requests have."""
    user, _, host = netloc.rpartition("@")
    login = b64encode(unquote(user).encode()).decode()
    return f"Host: {host}\r\nUser-Agent: slipstream\r\nAccept: */*\r\n" + (
        f"Authorization: Basic {login}\r\n" if user else ""
    )
