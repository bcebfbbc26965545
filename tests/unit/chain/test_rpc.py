"""A failing node raises an error; it never gives a result."""

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
    """Start a node with the given answer; its URL contains a key, as providers' URLs do."""
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


async def _rate_limit(_: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response({"error": {"code": -32005, "message": "rate limit"}}, status=429)


async def _no_json(_: list[dict[str, Any]]) -> web.StreamResponse:
    return web.Response(text="<html>welcome</html>", content_type="application/json")


async def _one_error_for_all(_: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response(
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}}
    )


async def _fewer_answers(requests: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response(
        [{"jsonrpc": "2.0", "id": each["id"], "result": "0x1"} for each in requests[1:]]
    )


async def _neither_result_nor_error(requests: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response([{"jsonrpc": "2.0", "id": each["id"]} for each in requests])


async def _aborts(_: list[dict[str, Any]]) -> web.StreamResponse:
    raise asyncio.CancelledError


async def _never_answers(_: list[dict[str, Any]]) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _empty_results(requests: list[dict[str, Any]]) -> web.StreamResponse:
    return web.json_response(
        [{"jsonrpc": "2.0", "id": each["id"], "result": "0x"} for each in requests]
    )


FAILURES = [
    _server_error,
    _rate_limit,
    _no_json,
    _one_error_for_all,
    _fewer_answers,
    _neither_result_nor_error,
    _aborts,
    _never_answers,
]


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: answer.__name__)
async def test_a_failing_node_is_transient_and_the_error_does_not_contain_its_key(
    serve: Serve, answer: Answer
) -> None:
    rpc = await serve(answer)

    with pytest.raises(Transient) as error:
        await rpc.call_batch([("eth_blockNumber", []), ("eth_chainId", [])])

    assert "secret" not in repr(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("answer", [*FAILURES, _empty_results], ids=lambda answer: answer.__name__)
async def test_no_balance_is_read_from_a_failing_node(serve: Serve, answer: Answer) -> None:
    chain = ChainClient(await serve(answer))

    with pytest.raises(Transient):
        await chain.fetch_balances(WALLET, [1 << 200])


async def test_answers_are_matched_by_id_whatever_their_order(serve: Serve) -> None:
    async def reversed_order(requests: list[dict[str, Any]]) -> web.StreamResponse:
        return web.json_response(
            [
                {"jsonrpc": "2.0", "id": each["id"], "result": each["method"]}
                for each in reversed(requests)
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
    """A node that refuses eth_getLogs over more than ``max_blocks``, and records the spans."""

    def __init__(self, *, max_blocks: int, head: int) -> None:
        super().__init__("http://127.0.0.1:1")
        self._max_blocks = max_blocks
        self._head = head
        self.answered_spans: list[tuple[int, int]] = []
        self.refusals = 0

    async def batch(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        (_, (log_filter,)) = requests[1]
        start, end = int(log_filter["fromBlock"], 16), int(log_filter["toBlock"], 16)
        if end - start + 1 > self._max_blocks:
            self.refusals += 1
            return [
                {"result": hex(self._head)},
                {"error": {"code": -32005, "message": "query returned more than 10000 results"}},
            ]
        self.answered_spans.append((start, end))
        return [{"result": hex(self._head)}, {"result": []}]


@pytest.mark.parametrize("max_blocks", [1, 3, 10, 1000])
async def test_a_span_that_the_node_refuses_is_halved_until_it_answers(max_blocks: int) -> None:
    node = LimitedNode(max_blocks=max_blocks, head=250)

    await ChainClient(node, block_span=100).fetch_order_fills(1, 250, [WALLET])

    blocks = [block for start, end in node.answered_spans for block in range(start, end + 1)]
    assert blocks == list(range(1, 251))
    assert node.refusals <= 7


async def test_a_node_that_refuses_a_single_block_is_an_error() -> None:
    with pytest.raises(NodeRefused, match="10000 results"):
        await ChainClient(LimitedNode(max_blocks=0, head=9)).fetch_order_fills(1, 9, [WALLET])


async def test_a_lagging_node_is_an_error() -> None:
    with pytest.raises(Transient, match="before 10"):
        await ChainClient(LimitedNode(max_blocks=100, head=9)).fetch_order_fills(1, 10, [WALLET])
