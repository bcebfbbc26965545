"""A node that fails, in every way that nodes fail, is an error and never an answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from shared.chain.client import ChainClient
from shared.chain.rpc import NodeRefused, Request, Rpc
from shared.domain.errors import Transient

WALLET = "0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5"
Answer = Callable[[list[dict[str, Any]]], Awaitable[web.StreamResponse]]
Serve = Callable[[Answer], Awaitable[Rpc]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a node that answers as told; its address has a key in it, as providers' have."""
    runners, clients = [], []

    async def start(answer: Answer) -> Rpc:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await answer(await request.json())

        app = web.Application()
        app.router.add_post("/v2/a-secret-key", handle)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = Rpc(f"http://127.0.0.1:{runner.addresses[0][1]}/v2/a-secret-key", timeout_s=1)
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()
    for runner in runners:
        await runner.cleanup()


async def _server_error(_: list[dict[str, Any]]) -> web.StreamResponse:
    return web.Response(status=502, text="bad gateway")


async def _too_many(_: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response({"error": {"code": -32005, "message": "rate limit"}}, status=429)


async def _no_json(_: list[dict[str, Any]]) -> web.StreamResponse:
    return web.Response(text="<html>welcome</html>", content_type="application/json")


async def _one_error_for_all(_: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response(
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}}
    )


async def _fewer_answers(asked: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response(
        [{"jsonrpc": "2.0", "id": each["id"], "result": "0x1"} for each in asked[1:]]
    )


async def _neither_nor(asked: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response([{"jsonrpc": "2.0", "id": each["id"]} for each in asked])


async def _hangs_up(_: list[dict[str, Any]]) -> web.StreamResponse:
    raise asyncio.CancelledError


async def _never(_: list[dict[str, Any]]) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _empty_results(asked: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response(
        [{"jsonrpc": "2.0", "id": each["id"], "result": "0x"} for each in asked]
    )


FAILURES = [
    _server_error,
    _too_many,
    _no_json,
    _one_error_for_all,
    _fewer_answers,
    _neither_nor,
    _hangs_up,
    _never,
]


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: answer.__name__)
async def test_a_failing_node_is_transient_and_its_key_is_not_told(
    serve: Serve, answer: Answer
) -> None:
    rpc = await serve(answer)

    with pytest.raises(Transient) as failed:
        await rpc.call_batch([("eth_blockNumber", []), ("eth_chainId", [])])

    assert "secret" not in repr(failed.value)
    assert failed.value.__cause__ is None


@pytest.mark.parametrize("answer", [*FAILURES, _empty_results], ids=lambda answer: answer.__name__)
async def test_no_balance_is_read_from_a_failing_node(serve: Serve, answer: Answer) -> None:
    chain = ChainClient(await serve(answer))

    with pytest.raises(Transient):
        await chain.fetch_balances(WALLET, [1 << 200])


async def test_answers_are_matched_by_id_whatever_their_order(serve: Serve) -> None:
    async def reversed_order(asked: list[dict[str, Any]]) -> web.StreamResponse:
        return web.json_response(
            [
                {"jsonrpc": "2.0", "id": each["id"], "result": each["method"]}
                for each in reversed(asked)
            ]
        )

    rpc = await serve(reversed_order)

    assert await rpc.call_batch([("first", []), ("second", []), ("third", [])]) == [
        "first",
        "second",
        "third",
    ]
    assert await rpc.call_batch([]) == []


class LimitedNode(Rpc):
    """A node that refuses eth_getLogs over more than a few blocks, and remembers what it was asked."""

    def __init__(self, *, most_blocks: int, head: int) -> None:
        super().__init__("http://127.0.0.1:1")
        self._most_blocks = most_blocks
        self._head = head
        self.answered: list[tuple[int, int]] = []
        self.refusals = 0

    async def batch(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        (_, (wanted,)) = requests[1]
        start, end = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if end - start + 1 > self._most_blocks:
            self.refusals += 1
            return [
                {"result": hex(self._head)},
                {"error": {"code": -32005, "message": "query returned more than 10000 results"}},
            ]
        self.answered.append((start, end))
        return [{"result": hex(self._head)}, {"result": []}]


@pytest.mark.parametrize("most_blocks", [1, 3, 10, 1000])
async def test_a_span_that_the_node_refuses_is_halved_until_it_answers(most_blocks: int) -> None:
    node = LimitedNode(most_blocks=most_blocks, head=250)

    await ChainClient(node, block_span=100).fetch_order_fills(1, 250, [WALLET])

    blocks = [block for start, end in node.answered for block in range(start, end + 1)]
    assert blocks == list(range(1, 251))
    assert node.refusals <= 7


async def test_a_node_that_refuses_a_single_block_is_an_error() -> None:
    with pytest.raises(NodeRefused, match="10000 results"):
        await ChainClient(LimitedNode(most_blocks=0, head=9)).fetch_order_fills(1, 9, [WALLET])


async def test_a_lagging_node_is_an_error() -> None:
    with pytest.raises(Transient, match="before 10"):
        await ChainClient(LimitedNode(most_blocks=100, head=9)).fetch_order_fills(1, 10, [WALLET])
