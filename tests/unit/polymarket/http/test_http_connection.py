"""A connection reads a reply however its bytes arrive: whole, in pieces, cut, or as garbage."""

import asyncio
import gzip
import zlib
from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.polymarket import http_connection
from shared.polymarket.http_connection import (
    ConnectionEnded,
    HttpConnection,
    HttpReply,
    NoReply,
    NotConnected,
)
from tests.unit.fuzz.fuzzing import TRIED_INPUTS, fuzzed
from tests.unit.polymarket.http.scripted_server import OK

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # no event loop moves the bytes

BODY = b'{"orderID": "0x1", "success": true}'


class Case(NamedTuple):
    raw: bytes
    status: int = 200
    body: bytes = BODY
    is_kept: bool = True
    ends_with_connection: bool = False


def reply_with(*headers: str, body: bytes = BODY, status: str = "200 OK") -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", *headers))
    return f"{head}\r\n\r\n".encode() + body


def measured(body: bytes, *headers: str) -> bytes:
    return reply_with(f"Content-Length: {len(body)}", *headers, body=body)


def chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


def deflate_raw(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


CASES = {
    "length": Case(measured(BODY)),
    "chunked": Case(reply_with("Transfer-Encoding: chunked", body=chunked(BODY))),
    "until the end": Case(
        reply_with("Connection: close"), is_kept=False, ends_with_connection=True
    ),
    "HTTP/1.0": Case(measured(BODY).replace(b"1.1", b"1.0"), is_kept=False),
    "closes": Case(measured(BODY, "Connection: close"), is_kept=False),
    "gzip": Case(measured(gzip.compress(BODY), "Content-Encoding: gzip")),
    "deflate": Case(measured(zlib.compress(BODY), "Content-Encoding: deflate")),
    "deflate without a header": Case(measured(deflate_raw(BODY), "Content-Encoding: deflate")),
    "chunked gzip": Case(
        reply_with(
            "Transfer-Encoding: chunked",
            "Content-Encoding: GZIP",
            body=chunked(gzip.compress(BODY)),
        )
    ),
    "unknown encoding": Case(measured(BODY, "Content-Encoding: UTF-8")),
    "empty": Case(measured(b""), body=b""),
    "no content": Case(reply_with(status="204 No Content", body=b""), 204, b""),
    "interim replies": Case(
        reply_with(status="100 Continue", body=b"")
        + reply_with("Link: </a>", status="103 Early Hints", body=b"")
        + measured(BODY)
    ),
    "status without a text": Case(measured(BODY).replace(b" OK", b" ")),
    "many headers": Case(measured(BODY, *(f"X-{number}: {'v' * 10}" for number in range(30)))),
    "a refusal": Case(
        reply_with("Content-Length: 35", "Retry-After: 3", status="429 Slow"), status=429
    ),
}
NAMED_CASES = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


class Transport(asyncio.Transport):
    """Writes nothing; tells its protocol that it was closed, as the event loop does."""

    def __init__(self, connection: HttpConnection) -> None:
        super().__init__()
        self._connection = connection
        self.sent = b""
        self._is_closing = False

    def is_closing(self) -> bool:
        return self._is_closing

    def abort(self) -> None:
        self.end(None)

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def end(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._connection.connection_lost(error)


class Exchange:
    """One request on a connection whose other end is the test."""

    def __init__(self) -> None:
        self.connection = HttpConnection(asyncio.get_running_loop())
        self.transport = Transport(self.connection)
        self.connection.connection_made(self.transport)

    async def run(self, pieces: Iterable[bytes], *, ends: bool = False) -> HttpReply:
        """Send a request, and answer with these pieces. Raises: NoReply."""
        asking = asyncio.create_task(self.connection.exchange(b"GET", within_s=60))
        await asyncio.sleep(0)
        for piece in pieces:
            if not self.transport.is_closing():
                self.connection.data_received(piece)
        if ends:
            self.transport.end(None)
        async with asyncio.timeout(60):
            return await asking


@NAMED_CASES
async def test_a_reply_is_read_wherever_it_is_split(case: Case) -> None:
    for cut in range(len(case.raw)):
        exchange = Exchange()
        pieces = (case.raw[:cut], case.raw[cut:]) if cut else (case.raw,)

        reply = await exchange.run(pieces, ends=case.ends_with_connection)

        assert (reply.status, reply.body) == (case.status, case.body)
        assert exchange.connection.is_open == case.is_kept


@NAMED_CASES
async def test_a_reply_is_read_byte_by_byte(case: Case) -> None:
    pieces = [bytes((byte,)) for byte in case.raw]

    reply = await Exchange().run(pieces, ends=case.ends_with_connection)

    assert (reply.status, reply.body) == (case.status, case.body)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if not case.ends_with_connection],
    ids=[name for name, case in CASES.items() if not case.ends_with_connection],
)
async def test_a_reply_that_is_cut_anywhere_is_none(case: Case) -> None:
    for cut in range(len(case.raw)):
        exchange = Exchange()

        with pytest.raises(NoReply) as caught:
            await exchange.run((case.raw[:cut],) if cut else (), ends=True)

        assert isinstance(caught.value, ConnectionEnded) == (cut == 0)
        assert not exchange.connection.is_open


@pytest.mark.parametrize("rest", [b"H", b"HTTP/1.1 20", measured(BODY)[:-1], measured(BODY)])
@pytest.mark.parametrize("case", [case for case in CASES.values() if case.is_kept])
async def test_a_connection_on_which_more_came_than_was_asked_for_is_not_kept(
    case: Case, rest: bytes
) -> None:
    exchange = Exchange()

    reply = await exchange.run((case.raw + rest,))

    assert (reply.status, reply.body) == (case.status, case.body)
    assert not exchange.connection.is_open


async def test_a_kept_connection_reads_one_reply_after_another() -> None:
    exchange = Exchange()
    for case in CASES.values():
        if case.is_kept:
            reply = await exchange.run((case.raw,))
            assert (reply.status, reply.body) == (case.status, case.body)


async def test_names_of_headers_are_found_in_any_case() -> None:
    reply = await Exchange().run((measured(BODY, "RETRY-after: 7"),))

    assert reply.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 40,
        reply_with(f"X: {'v' * 9000}"),
        reply_with(*(f"X-{number}: v" for number in range(200))),
        reply_with("Content-Length: -1"),
        reply_with("Content-Length: 2", "Content-Length: 3"),
        reply_with("Content-Length: 2", "Transfer-Encoding: chunked", body=chunked(BODY)),
        reply_with("Transfer-Encoding: chunked", body=b"zz\r\n"),
        measured(BODY, "Content-Encoding: gzip"),
        measured(gzip.compress(BODY)[:-9], "Content-Encoding: gzip"),
        reply_with("Upgrade: websocket", "Connection: Upgrade", status="101 Switching", body=b""),
    ],
    ids=[
        "garbage",
        "TLS",
        "huge header",
        "too many headers",
        "negative length",
        "two lengths",
        "length and chunks",
        "no chunk",
        "no gzip",
        "cut gzip",
        "another protocol",
    ],
)
async def test_what_is_no_reply_is_refused_and_its_connection_ends(raw: bytes) -> None:
    exchange = Exchange()

    with pytest.raises(NoReply):
        await exchange.run((raw,))

    assert not exchange.connection.is_open


@pytest.mark.parametrize(
    "raw",
    [
        measured(b"x" * 1001),
        measured(gzip.compress(b"x" * 1001), "Content-Encoding: gzip"),
        reply_with(status="100 Continue", body=b"") * 50,
    ],
    ids=["body", "compressed body", "endless interim replies"],
)
async def test_a_reply_that_is_too_large_is_refused(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "MAX_REPLY_BYTES", 1000)

    with pytest.raises(NoReply):
        await Exchange().run((raw,))


async def test_a_connection_with_more_than_a_reply_is_not_kept() -> None:
    exchange = Exchange()

    reply = await exchange.run((OK + OK,))

    assert reply.body == b"OK"
    assert not exchange.connection.is_open


async def test_an_idle_connection_that_gets_bytes_ends() -> None:
    exchange = Exchange()
    await exchange.run((OK,))

    exchange.connection.data_received(OK)

    assert not exchange.connection.is_open
    with pytest.raises(NotConnected):
        await exchange.connection.exchange(b"GET", within_s=60)
    assert exchange.transport.sent == b"GET"


async def test_a_request_that_is_cancelled_ends_its_connection() -> None:
    exchange = Exchange()
    asking = asyncio.create_task(exchange.connection.exchange(b"GET", within_s=60))
    await asyncio.sleep(0)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not exchange.connection.is_open


@given(raw=st.binary(max_size=300), ends=st.booleans())
async def test_any_bytes_are_a_reply_or_none(raw: bytes, ends: bool) -> None:
    await read_or_refuse((raw,), ends=ends)


@fuzzed
async def test_mutated_replies_in_any_pieces_are_read_or_refused(rng: Random) -> None:
    raw = mutate(rng, rng.choice(list(CASES.values())).raw)
    pieces = []
    while raw:
        size = rng.randint(1, len(raw))
        pieces.append(raw[:size])
        raw = raw[size:]
    await read_or_refuse(pieces, ends=rng.random() < 0.5)
    TRIED_INPUTS["bytes of HTTP replies"] += 1


async def read_or_refuse(pieces: Iterable[bytes], *, ends: bool) -> None:
    """Nothing but a reply or ``NoReply`` comes of it, and only a reply keeps the connection."""
    exchange = Exchange()
    asking = asyncio.create_task(exchange.run(pieces, ends=ends))
    for _ in range(5):
        await asyncio.sleep(0)
    if not asking.done():  # it waits for more
        exchange.transport.end(None)
    (result,) = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(result, HttpReply):
        assert result.status not in range(100, 200)
    else:
        assert isinstance(result, NoReply), repr(result)
        assert str(result).isascii()
        assert not exchange.connection.is_open


def mutate(rng: Random, raw: bytes) -> bytes:
    """The bytes with some of them changed, dropped, repeated or inserted."""
    changed = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(changed) + 1), rng.randint(0, 8)
        match rng.randrange(4):
            case 0:
                changed[at : at + size] = bytes(rng.randrange(256) for _ in range(size))
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at:at] = changed[at : at + size]
            case _:
                changed[at:at] = rng.choice([b"\r\n", b"\r\n\r\n", b"\x00", b":", b"0\r\n", b" "])
    return bytes(changed)
