"""One HTTP/1.1 connection: a request at a time, its reply read whole.

The bytes are parsed by aiohttp's parser (llhttp). Its client is not used: a request costs three
times as much CPU there (docs/architecture.md, Requests to the venue).
"""

import asyncio
import re
import select
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp.http import HttpResponseParser

MAX_REPLY_BYTES: Final = 16 * 2**20
"""Of a reply with its headers, and of its body without compression. The largest that are known, a
page of trades, have a few hundred thousand."""
INTERIM_STATUSES: Final = range(100, 200)
_ZLIB_FORMATS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""By content encoding: those that are asked for."""
_KEPT_FOR = re.compile(r"timeout=([0-9]{1,9})(?![0-9])", re.IGNORECASE)


class NotConnected(Exception):
    """There is no connection: no byte of the request has left."""


class NoReply(Exception):
    """The request may have left, and no reply came that can be read."""


class ConnectionEnded(NoReply):
    """The connection ended before any byte of a reply."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    status: int
    headers: Mapping[str, str]
    """The case of a name does not matter."""
    body: bytes
    """Without compression."""


class HttpConnection(asyncio.Protocol):
    """Made by ``loop.create_connection``."""

    __slots__ = (
        "_loop",
        "_message",
        "_parser",
        "_payload",
        "_received",
        "_reply",
        "_transport",
        "_will_close",
        "kept_for_s",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Any = None
        self._reply: asyncio.Future[HttpReply] | None = None
        self._parser: Any = None
        self._message: Any = None
        self._payload: Any = None
        self._received = 0
        self._will_close = False
        self.kept_for_s: int | None = None
        """How long the server keeps the connection while it is idle; None: it does not say."""

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent on it, as far as the event loop has seen."""
        return not (self._will_close or self._transport is None or self._transport.is_closing())

    def is_stale(self) -> bool:
        """Whether the server has ended the connection, or sent what nobody asked for, though the
        event loop has not come to see it yet.
        """
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def exchange(self, request: bytes, *, within_s: float) -> HttpReply:
        """Send a request and return its reply. The connection is aborted where none comes.

        Raises: NotConnected, NoReply.
        """
        if not self.is_open:
            raise NotConnected("the connection has ended")
        self._message, self._payload, self._received = None, None, 0
        self._parser = HttpResponseParser(
            self,  # type: ignore[arg-type]
            self._loop,
            MAX_REPLY_BYTES,
            read_until_eof=True,
            auto_decompress=False,
        )
        reply: asyncio.Future[HttpReply] = self._loop.create_future()
        self._reply = reply
        expiry = self._loop.call_later(within_s, self._fail, NoReply("TimeoutError"))
        self._transport.write(request)
        try:
            return await reply
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            expiry.cancel()
            self._reply = None

    def abort(self) -> None:
        self._will_close = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._reply is None or self._reply.done():
            self.abort()  # nobody asked for it
            return
        self._received += len(data)
        if self._received > MAX_REPLY_BYTES:
            self._fail(NoReply("a reply that is too large"))
            return
        try:
            messages, is_upgraded, _ = self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - whatever the parser makes of the venue's bytes
            self._fail(NoReply(type(error).__name__))
            return
        self._keep_final(messages)
        if is_upgraded:
            self._fail(NoReply("another protocol"))
        elif self._payload is not None:
            self._will_close = self._will_close or self._has_more()
            self._finish_if_whole()

    def connection_lost(self, error: Exception | None) -> None:
        self._will_close = True
        if self._reply is None or self._reply.done():
            return
        if error is None and self._payload is not None:
            try:
                self._parser.feed_eof()  # the end of a body without a length
            except Exception as cut:  # noqa: BLE001 - as above
                self._fail(NoReply(type(cut).__name__))
            else:
                self._finish_if_whole()
        kind = NoReply if self._received else ConnectionEnded
        self._fail(kind("ServerDisconnected" if error is None else type(error).__name__))

    def pause_reading(self) -> None:
        """Called by the parser, which holds no more than ``MAX_REPLY_BYTES`` anyway."""

    def resume_reading(self, *, resume_parser: bool = True) -> None:
        """As ``pause_reading``."""

    def _keep_final(self, messages: Iterable[tuple[Any, Any]]) -> None:
        """Keep the first reply that is not an interim one."""
        for message, payload in messages:
            if self._message is not None:
                self._will_close = True  # more than was asked for
            elif message.code not in INTERIM_STATUSES:
                self._message, self._payload = message, payload

    def _has_more(self) -> bool:
        """Whether the reply is whole, and a part of another one came with it."""
        if not self._payload.is_eof():
            return False
        try:
            return self._parser.feed_eof() is not None
        except Exception:  # noqa: BLE001 - as above
            return True

    def _finish_if_whole(self) -> None:
        if (error := self._payload.exception()) is not None:
            self._fail(NoReply(type(error).__name__))
        elif self._payload.is_eof():
            self._finish()

    def _finish(self) -> None:
        message, raw = self._message, self._payload.read_nowait(-1)
        try:
            body = _decompress(raw, message.compression)
        except (zlib.error, ValueError):
            self._fail(NoReply("a body that cannot be decompressed"))
            return
        self._will_close = self._will_close or message.should_close
        kept_for = _KEPT_FOR.search(message.headers.get("Keep-Alive", ""))
        self.kept_for_s = int(kept_for[1]) if kept_for else None
        assert self._reply is not None
        self._reply.set_result(HttpReply(message.code, message.headers, body))

    def _fail(self, error: NoReply) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
        self.abort()


def _decompress(body: bytes, encoding: str | None) -> bytes:
    """Raises: zlib.error, ValueError where the body is cut or too large. One in an encoding that
    was not asked for is returned as it is.
    """
    if not body or encoding not in _ZLIB_FORMATS:
        return body
    window = _ZLIB_FORMATS[encoding]
    if encoding == "deflate" and body[0] & 0xF != zlib.DEFLATED:
        window = -zlib.MAX_WBITS  # without zlib's header, as some servers send it
    stream = zlib.decompressobj(window)
    plain = stream.decompress(body, MAX_REPLY_BYTES)
    if not stream.eof:
        raise ValueError("cut, or too large")
    return plain
