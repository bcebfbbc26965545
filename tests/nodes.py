"""Small chain nodes over HTTP, with the limits and the habits of real ones."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from shared.chain.logs import ORDER_FILLED
from shared.chain.rpc import Rpc

Call = Mapping[str, Any]
"""A JSON-RPC request."""
Respond = Callable[[Any], web.StreamResponse | Awaitable[web.StreamResponse]]
"""Responds to a parsed body: a request, or a list of them."""

SECRET = "a-secret-key"


@asynccontextmanager
async def serve_node(respond: Respond, *, timeout_s: float = 30) -> AsyncIterator[Rpc]:
    """Serve a node with a key in its address, as those of providers have; a client of it.

    ``timeout_s``: for a node that never answers, short.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        response = respond(await request.json())
        return await response if inspect.isawaitable(response) else response

    app = web.Application(client_max_size=2**26)
    app.router.add_post(f"/v2/{SECRET}", handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Rpc(f"http://127.0.0.1:{runner.addresses[0][1]}/v2/{SECRET}", timeout_s=timeout_s)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def as_list(body: Any) -> list[Call]:
    return body if isinstance(body, list) else [body]


def respond_with(body: Any, answers: Sequence[Mapping[str, Any]]) -> web.Response:
    """Respond with an answer (``result`` or ``error``) to each request, in their order."""
    elements = [
        {"jsonrpc": "2.0", "id": call["id"], **answer}
        for call, answer in zip(as_list(body), answers, strict=True)
    ]
    return web.json_response(elements if isinstance(body, list) else elements[0])


def error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@dataclass(kw_only=True)
class LimitedNode:
    """Refuses what is beyond its limits as providers do; ``answer`` answers all else."""

    answer: Callable[[Call], Any]
    """Returns ``result`` or ``error``, or an awaitable of them."""
    max_batch: int | None = None
    drops: bool = False
    """Whether the requests beyond ``max_batch`` are left out, instead of the batch refused."""
    max_makers: int | None = None
    max_blocks: int | None = None
    batch_sizes: list[int] = field(default_factory=list)
    """Of the batches that were answered."""
    refusals: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    """First and last block of each eth_getLogs that was answered."""

    async def __call__(self, body: Any) -> web.StreamResponse:
        calls = as_list(body)
        if self.max_batch is not None and len(calls) > self.max_batch:
            self.refusals += 1
            if not self.drops:
                return web.json_response(
                    {"jsonrpc": "2.0", "id": None, **error(-32600, "batch limit 100 exceeded")}
                )
            body = body[: self.max_batch]
        self.batch_sizes.append(len(as_list(body)))
        return respond_with(body, [await self._answer(call) for call in as_list(body)])

    async def _answer(self, call: Call) -> Mapping[str, Any]:
        if call["method"] == "eth_getLogs" and (refusal := self._refuse_logs(call)) is not None:
            self.refusals += 1
            return refusal
        answer = self.answer(call)
        answered: Mapping[str, Any] = await answer if inspect.isawaitable(answer) else answer
        return answered

    def _refuse_logs(self, call: Call) -> Mapping[str, Any] | None:
        (log_filter,) = call["params"]
        start, end = int(log_filter["fromBlock"], 16), int(log_filter["toBlock"], 16)
        makers = log_filter["topics"][2]
        if self.max_makers is not None and len(makers) > self.max_makers:
            return error(-32602, "exceed max topics")
        if self.max_blocks is not None and end - start + 1 > self.max_blocks:
            return error(-32005, "query returned more than 10000 results")
        self.spans.append((start, end))
        return None


@dataclass(kw_only=True)
class ChainModel:
    """A chain with receipts and logs."""

    head: int
    finalized: int | None = None
    """None: the answer of that tag is null."""
    receipts: dict[str, Any] = field(default_factory=dict)
    logs: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, call: Call) -> Mapping[str, Any]:
        method, params = call["method"], call["params"]
        match method:
            case "eth_blockNumber":
                return {"result": hex(self.head)}
            case "eth_getBlockByNumber":
                return {"result": self._find_block(params[0])}
            case "eth_getTransactionReceipt":
                return {"result": self.receipts.get(params[0])}
            case "eth_getLogs":
                return {"result": list(filter(lambda log: _matches(log, params[0]), self.logs))}
            case "eth_call":
                return {"result": "0x" + (7_000_000).to_bytes(32).hex()}
            case _:
                return error(-32601, f"the method {method} does not exist")

    def _find_block(self, tag: str) -> dict[str, Any] | None:
        named = {"latest": self.head, "finalized": self.finalized}
        number = named[tag] if tag in named else int(tag, 16)
        return a_block(number) if number is not None and number <= self.head else None


def a_block(number: int) -> dict[str, Any]:
    return {
        "number": hex(number),
        "hash": a_block_hash(number),
        "parentHash": a_block_hash(number - 1),
        "timestamp": hex(1_790_000_000 + 2 * number),
    }


def a_block_hash(number: int) -> str:
    return f"0x{number:064x}"


def a_transaction_hash(number: int) -> str:
    return f"0x{number + 2**255:064x}"


def a_receipt(number: int, *, block: int, **fields: Any) -> dict[str, Any]:
    """The receipt of a transaction that succeeded, without logs."""
    receipt = {
        "transactionHash": a_transaction_hash(number),
        "blockNumber": hex(block),
        "blockHash": a_block_hash(block),
        "status": "0x1",
        "gasUsed": "0x5208",
        "logs": [],
    }
    return receipt | fields


def a_fill_log(
    number: int, *, maker: str, block: int, exchange: str, token_id: int = 10**70
) -> dict[str, Any]:
    """The log of a wallet's BUY of 10 shares for 5 USDC, in a transaction of its own."""
    words = (0, token_id, 5_000_000, 10_000_000, 0, 0, 0)
    return {
        "address": exchange,
        "topics": [
            ORDER_FILLED,
            f"0x{number:064x}",
            _topic(maker),
            _topic(exchange),
        ],
        "data": "0x" + b"".join(word.to_bytes(32) for word in words).hex(),
        "blockNumber": hex(block),
        "blockHash": a_block_hash(block),
        "transactionHash": a_transaction_hash(number),
        "logIndex": hex(number),
        "removed": False,
    }


def _matches(log: Mapping[str, Any], log_filter: Mapping[str, Any]) -> bool:
    start, end = int(log_filter["fromBlock"], 16), int(log_filter["toBlock"], 16)
    return (
        start <= int(log["blockNumber"], 16) <= end
        and log["topics"][0] in log_filter["topics"][0]
        and log["topics"][2] in log_filter["topics"][2]
    )


def _topic(address: str) -> str:
    return "0x" + address.removeprefix("0x").lower().rjust(64, "0")
