"""The HTTP client against real servers, on both event loops: what it sends, which connections it
uses, and what it says about requests that failed.
"""

import asyncio
import socket
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest

from shared.polymarket import http_client
from shared.polymarket.http_client import HttpClient, Timeouts
from shared.polymarket.http_connection import (
    ConnectionEnded,
    HttpReply,
    NoReply,
    NotConnected,
)
from shared.testing.waiting import eventually
from tests.certificates import make_certificate, make_server_context
from tests.system.faulty_relay import HOST
from tests.unit.polymarket.http.scripted_server import OK, Answer, ScriptedServer

PATIENT = Timeouts(connect_s=60, acquire_s=60, reply_s=60, total_s=120)
CLOSES = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
KEPT_BRIEFLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nOK"


@asynccontextmanager
async def open_client(
    url: str,
    *,
    limit: int = 4,
    timeouts: Timeouts = PATIENT,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpClient]:
    client = HttpClient(url, limit=limit, timeouts=timeouts, tls=tls)
    try:
        yield client
    finally:
        await client.close()


def answering(*answers: Answer) -> ScriptedServer:
    return ScriptedServer(deque(answers))


async def post(client: HttpClient) -> HttpReply:
    return await client.request("POST", "/order", body=b"{}")


async def get(client: HttpClient) -> HttpReply:
    return await client.request("GET", "/time")


async def test_a_post_is_sent_byte_for_byte() -> None:
    async with answering(Answer()) as server, open_client(server.url) as client:
        reply = await client.request("POST", "/order", headers={"POLY_KEY": "k"}, body=b'{"a": 1}')

    assert (reply.status, reply.body) == (200, b"OK")
    assert server.requests == [
        f"POST /order HTTP/1.1\r\nHost: {HOST}:{server.port}\r\nUser-Agent: slipstream\r\n"
        'Accept: */*\r\nContent-Length: 8\r\nPOLY_KEY: k\r\n\r\n{"a": 1}'.encode()
    ]


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/book", {"token_id": "7"}, "/v1/book?token_id=7"),
        ("/data/trades", {"next_cursor": "MA==", "id": "a b&c"}, None),
        ("/clob-markets/0x1?x=#\r\n ü", None, "/v1/clob-markets/0x1%3Fx%3D%23%0D%0A%20%C3%BC"),
    ],
)
async def test_a_read_names_its_target_under_the_bases_path(
    path: str, query: dict[str, str] | None, target: str | None
) -> None:
    async with answering(Answer()) as server, open_client(f"{server.url}/v1/") as client:
        await client.request("GET", path, query=query)

    line, _, rest = server.requests[0].partition(b"\r\n")
    assert (
        line.decode()
        == f"GET {target or '/v1/data/trades?next_cursor=MA%3D%3D&id=a+b%26c'} HTTP/1.1"
    )
    assert b"Accept-Encoding: gzip, deflate\r\n" in rest


async def test_user_and_password_of_the_address_are_sent() -> None:
    async with answering(Answer()) as server:
        url = server.url.replace("http://", "http://us%40er:pass@")
        async with open_client(url) as client:
            await get(client)

    assert b"\r\nAuthorization: Basic dXNAZXI6cGFzcw==\r\n" in server.requests[0]
    assert f"\r\nHost: {HOST}:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("text", ["a\r\nX: b", "a\nb", "a\rb"])
async def test_a_header_with_a_line_break_is_not_sent(text: str) -> None:
    async with answering(Answer()) as server, open_client(server.url) as client:
        with pytest.raises(ValueError, match="line break"):
            await client.request("GET", "/time", headers={"A": text})

    assert server.connections == 0


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with answering(Answer(), Answer(), Answer()) as server, open_client(server.url) as client:
        for _ in range(3):
            assert (await post(client)).body == b"OK"

    assert server.connections == 1


@pytest.mark.parametrize("reply", [CLOSES, KEPT_BRIEFLY, OK.replace(b"1.1", b"1.0")])
async def test_a_connection_that_is_not_kept_is_not_used_again(reply: bytes) -> None:
    async with answering(Answer(reply), Answer()) as server, open_client(server.url) as client:
        await post(client)
        assert (await post(client)).body == b"OK"

    assert server.connections == 2


async def test_no_more_connections_than_the_limit_and_each_request_gets_its_own_reply() -> None:
    answers = [
        Answer(f"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{number}".encode())
        for number in range(100, 120)
    ]
    async with answering(*answers) as server, open_client(server.url, limit=3) as client:
        replies = await asyncio.gather(*(post(client) for _ in answers))

    assert {reply.body for reply in replies} == {str(each).encode() for each in range(100, 120)}
    assert server.connections == 3


async def test_who_waits_for_a_connection_and_gives_up_takes_none() -> None:
    async with answering() as server, open_client(server.url, limit=1) as client:
        first = asyncio.create_task(post(client))
        await eventually(lambda: server.requests)
        others = [asyncio.create_task(post(client)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in (others[0], first, others[2]):
            task.cancel()
        await eventually(lambda: len(server.requests) == 2)
        server.answers.append(Answer())
        for writer in server.open:
            writer.write(OK)

        assert (await others[1]).body == b"OK"
        assert (await post(client)).body == b"OK"

    assert len(server.requests) == 3


async def test_without_a_free_connection_in_time_nothing_is_sent() -> None:
    timeouts = Timeouts(connect_s=60, acquire_s=0.05, reply_s=60, total_s=60)
    async with (
        answering() as server,
        open_client(server.url, limit=1, timeouts=timeouts) as client,
    ):
        first = asyncio.create_task(post(client))
        await eventually(lambda: server.requests)

        with pytest.raises(NotConnected):
            await post(client)

        first.cancel()
    assert len(server.requests) == 1


async def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "IDLE_S", 0.05)
    async with answering(Answer(), Answer()) as server, open_client(server.url) as client:
        await post(client)
        await eventually(lambda: not server.open)
        await post(client)

    assert server.connections == 2


async def test_a_connection_that_the_server_closed_while_idle_is_not_used() -> None:
    async with (
        answering(Answer(then_closes=True), Answer()) as server,
        open_client(server.url) as client,
    ):
        await post(client)
        await eventually(lambda: not server.open)
        assert (await post(client)).body == b"OK"

    assert len(server.requests) == 2


class BlockingServer:
    """Answers two connections in a thread, one request each; ends the first in a way that the test
    chooses, at a moment that it chooses.
    """

    def __init__(self, end: Callable[[socket.socket], None]) -> None:
        self.requests: list[bytes] = []
        self._end = end
        self._may_end, self._ended = threading.Event(), threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def end_first(self) -> None:
        """Return once it has ended: the event loop, which runs this, cannot have seen it."""
        self._may_end.set()
        self._ended.wait(60)

    def join(self) -> None:
        self._thread.join(60)
        self._listener.close()

    def _serve(self) -> None:
        for is_first in (True, False):
            accepted, _ = self._listener.accept()
            with closing(accepted):
                self.requests.append(accepted.recv(65536))
                accepted.sendall(OK)
                if is_first:
                    self._may_end.wait(60)
                    self._end(accepted)
            self._ended.set()


@pytest.mark.parametrize(
    "end",
    [
        lambda accepted: accepted.shutdown(socket.SHUT_WR),
        lambda accepted: accepted.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        ),
        lambda accepted: accepted.sendall(OK),
    ],
    ids=["closed", "reset", "unasked reply"],
)
async def test_an_end_that_the_event_loop_has_not_seen_costs_no_order(
    end: Callable[[socket.socket], None],
) -> None:
    server = BlockingServer(end)
    async with open_client(server.url) as client:
        await post(client)
        server.end_first()
        assert (await post(client)).body == b"OK"
    server.join()

    assert len(server.requests) == 2


async def test_a_read_whose_kept_connection_ends_without_a_reply_is_sent_once_more() -> None:
    async with (
        answering(Answer(), Answer(b"", then_closes=True), Answer()) as server,
        open_client(server.url) as client,
    ):
        await get(client)
        assert (await get(client)).body == b"OK"

    assert (len(server.requests), server.connections) == (3, 2)


@pytest.mark.parametrize("answer", [Answer(b"", then_closes=True), Answer(b"", then_resets=True)])
async def test_a_post_whose_kept_connection_ends_without_a_reply_is_not_sent_again(
    answer: Answer,
) -> None:
    async with answering(Answer(), answer, Answer()) as server, open_client(server.url) as client:
        await post(client)
        with pytest.raises(ConnectionEnded):
            await post(client)

    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("kept", "reply"),
    [(False, b""), (True, OK[:-1]), (True, OK[:9])],
    ids=["new connection", "cut body", "cut head"],
)
async def test_a_read_is_not_sent_again_where_that_may_not_help(kept: bool, reply: bytes) -> None:
    answers = [Answer()] * kept + [Answer(reply, then_closes=True)]
    async with answering(*answers) as server, open_client(server.url) as client:
        if kept:
            await get(client)
        with pytest.raises(NoReply):
            await get(client)

    assert len(server.requests) == len(answers)


async def test_a_reply_that_does_not_come_in_time_is_none_and_its_connection_is_not_kept() -> None:
    timeouts = Timeouts(connect_s=60, acquire_s=60, reply_s=0.05, total_s=60)
    async with answering() as server, open_client(server.url, timeouts=timeouts) as client:
        with pytest.raises(NoReply, match="Timeout"):
            await post(client)
        await eventually(lambda: not server.open)
        assert len(server.requests) == 1


async def test_a_client_that_is_closed_leaves_no_connection() -> None:
    async with answering(Answer()) as server, open_client(server.url) as client:
        await post(client)
        waiting = asyncio.create_task(post(client))
        await eventually(lambda: len(server.requests) == 2)

        await client.close()

        with pytest.raises(NoReply):
            await waiting
        with pytest.raises(NotConnected):
            await post(client)
        await eventually(lambda: not server.open)


async def test_a_server_that_refuses_connections_got_nothing() -> None:
    async with answering() as server:
        pass
    async with open_client(server.url) as client:
        with pytest.raises(NotConnected):
            await post(client)


async def test_a_name_that_does_not_exist_is_no_connection() -> None:
    async with open_client("http://venue.invalid") as client:
        with pytest.raises(NotConnected):
            await post(client)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, name="localhost", valid_for=timedelta(days=1))


def trust(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


async def test_tls_verifies_the_certificate_and_keeps_the_connection(certificate: Path) -> None:
    server = ScriptedServer(deque([Answer(), Answer()]), tls=make_server_context(certificate))
    async with (
        server,
        open_client(f"https://localhost:{server.port}", tls=trust(certificate)) as client,
    ):
        for _ in range(2):
            assert (await post(client)).body == b"OK"

    assert server.connections == 1


@pytest.mark.parametrize(
    ("name", "valid_for", "is_trusted"),
    [
        ("localhost", timedelta(days=1), False),
        ("localhost", timedelta(hours=-1), True),
        ("another", timedelta(days=1), True),
    ],
    ids=["unknown issuer", "expired", "another name"],
)
async def test_without_a_valid_certificate_nothing_is_sent(
    tmp_path: Path, certificate: Path, name: str, valid_for: timedelta, is_trusted: bool
) -> None:
    directory = tmp_path / "served"
    directory.mkdir()
    served = make_certificate(directory, name=name, valid_for=valid_for)
    server = ScriptedServer(deque([Answer()]), tls=make_server_context(served))
    tls = trust(served if is_trusted else certificate)
    async with server, open_client(f"https://localhost:{server.port}", tls=tls) as client:
        with pytest.raises(NotConnected, match="SSLCertVerificationError"):
            await post(client)

    assert server.requests == []


async def test_a_server_without_tls_gets_no_request() -> None:
    server = answering(Answer())
    url = f"https://{HOST}:{server.port}"
    timeouts = Timeouts(connect_s=1, acquire_s=60, reply_s=60, total_s=60)
    async with server, open_client(url, timeouts=timeouts) as client:
        with pytest.raises(NotConnected):  # it never answers the handshake
            await post(client)

    assert not any(b"POST" in request for request in server.requests)


async def test_a_tls_handshake_without_an_end_is_no_connection(certificate: Path) -> None:
    timeouts = Timeouts(connect_s=0.1, acquire_s=60, reply_s=60, total_s=60)
    async with answering() as server:
        url = server.url.replace("http:", "https:")
        async with open_client(url, timeouts=timeouts, tls=trust(certificate)) as client:
            with pytest.raises(NotConnected, match="Timeout"):
                await post(client)
        await eventually(lambda: not server.open)
