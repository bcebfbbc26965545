"""A chain node for the benchmark: JSON-RPC over HTTP, in a process of its own.

    python -m tools.bench.node PORT

It serves large balances, and the fills of the orders that the benchmark's venue tells it were
matched (``/matched``). It checks nothing and keeps no state but the last minutes: a real chain
could not settle a thousand orders a second on the machine that is measured, and its time would
distort the measurement.
"""

import asyncio
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
import uvloop
from aiohttp import web
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from shared.chain.snapshot_code import SNAPSHOT_CREATION_CODE
from shared.clock import utc_now
from tools.bench.chain_blocks import (
    BenchChain,
    build_header,
    finalized_block,
    newest_block,
)

HOST = "127.0.0.1"
LARGE_AMOUNT = 10**15
WORD_DIGITS = 64
WALLET_CALLS = 10
"""Calls that read the balances for a BUY: one balance, and three for each of three exchanges."""
MAX_BODY = 32 * 2**20
BALANCE_OF_TOKEN = "0x" + keccak(text="balanceOf(address,uint256)")[:4].hex()
BALANCE_OF_BATCH = "0x" + keccak(text="balanceOfBatch(address[],uint256[])")[:4].hex()
INVALID_PARAMS, METHOD_NOT_FOUND = -32602, -32601

Params = Sequence[Any]


class Refused(Exception):
    """The node refuses a call: the error's code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class BenchNode:
    """Answers calls. ``second``: the Unix time."""

    def __init__(self, second: Callable[[], int]) -> None:
        self._second, self._chain = second, BenchChain()
        self._broke: Collection[str] = ()
        self._methods: Mapping[str, Callable[[Params], bytes]] = {
            "eth_chainId": lambda _: b'"0x89"',
            "eth_blockNumber": lambda _: orjson.dumps(hex(newest_block(second()))),
            "eth_getBlockByNumber": self._get_block,
            "eth_getLogs": self._get_logs,
            "eth_getTransactionReceipt": self._get_receipt,
            "eth_call": lambda params: orjson.dumps(answer_call(params, broke=self._broke)),
        }

    def settle(self, bodies: bytes) -> None:
        """Settle orders that the venue has just matched. ``bodies``: a JSON list of what was
        posted.
        """
        second = self._second()
        for body in orjson.loads(bodies):
            self._chain.settle(body["order"], second=second)

    def set_broke(self, wallets: Collection[str]) -> None:
        """The wallets that have no collateral from now on."""
        self._broke = wallets

    def answer(self, body: bytes) -> bytes:
        """Answer a JSON-RPC request, or a batch of them."""
        asked = orjson.loads(body)
        if isinstance(asked, list):
            return b"[" + b",".join(map(self._answer_one, asked)) + b"]"
        return self._answer_one(asked)

    def _answer_one(self, call: Mapping[str, Any]) -> bytes:
        start = b'{"jsonrpc":"2.0","id":' + orjson.dumps(call["id"])
        try:
            method = self._methods.get(call["method"])
            if method is None:
                raise Refused(METHOD_NOT_FOUND, f"the method {call['method']} does not exist")
            return start + b',"result":' + method(call["params"]) + b"}"
        except Refused as refusal:
            error = {"code": refusal.code, "message": str(refusal)}
            return start + b',"error":' + orjson.dumps(error) + b"}"

    def _get_block(self, params: Params) -> bytes:
        number = self._parse_block(params[0])
        known = 0 <= number <= newest_block(self._second())
        return orjson.dumps(build_header(number)) if known else b"null"

    def _get_logs(self, params: Params) -> bytes:
        asked = params[0]
        newest = newest_block(self._second())
        last = self._parse_block(asked.get("toBlock", "latest"))
        addresses = asked.get("address", [])
        logs = self._chain.find_logs(
            self._parse_block(asked.get("fromBlock", "latest")),
            min(last, newest),
            addresses=[
                each.lower() for each in ([addresses] if isinstance(addresses, str) else addresses)
            ],
            topics=asked.get("topics", []),
        )
        return b"[" + b",".join(logs) + b"]"

    def _get_receipt(self, params: Params) -> bytes:
        return self._chain.find_receipt(params[0], newest=newest_block(self._second())) or b"null"

    def _parse_block(self, tag: str) -> int:
        match tag:
            case "latest" | "pending":
                return newest_block(self._second())
            case "finalized" | "safe":
                return finalized_block(self._second())
            case "earliest":
                return 0
        return int(tag, 16)


def answer_call(params: Params, *, broke: Collection[str] = ()) -> str:
    """A snapshot of wallets, or the shares that some hold. Raises: Refused for another call."""
    data = params[0]["data"]
    if data.startswith(SNAPSHOT_CREATION_CODE):
        return answer_snapshot(params, broke=broke)
    if data.startswith(BALANCE_OF_TOKEN):
        return f"0x{LARGE_AMOUNT:064x}"
    if data.startswith(BALANCE_OF_BATCH):
        _, tokens = decode(["address[]", "uint256[]"], bytes.fromhex(data[len(BALANCE_OF_BATCH) :]))
        return "0x" + encode(["uint256[]"], [[LARGE_AMOUNT] * len(tokens)]).hex()
    raise Refused(INVALID_PARAMS, "only balances are answered")


def answer_snapshot(params: Params, *, broke: Collection[str] = ()) -> str:
    """Large balances and allowances, and every approval; for the broke wallets no balance.

    The call's argument is a list: its length is its second word.
    """
    argument = params[0]["data"].removeprefix(SNAPSHOT_CREATION_CODE)
    count = int(argument[WORD_DIGITS : 2 * WORD_DIGITS], 16) // WALLET_CALLS
    owners_without = tuple(wallet[2:].lower() for wallet in broke if wallet[2:].lower() in argument)
    if not owners_without:
        return _encode_wallets((True,) * count)
    (calls,) = decode(["(address,bytes)[]"], bytes.fromhex(argument))
    owners = [calldata[-20:].hex() for _, calldata in calls[::WALLET_CALLS]]
    return _encode_wallets(tuple(owner not in owners_without for owner in owners))


@cache
def _encode_wallets(funded: tuple[bool, ...]) -> str:
    """Of each wallet, whether it has money."""
    amount, approved = encode(["uint256"], [LARGE_AMOUNT]), encode(["bool"], [True])
    answers = [
        answer
        for has_money in funded
        for answer in (
            amount if has_money else bytes(32),
            *([amount, approved, approved] * ((WALLET_CALLS - 1) // 3)),
        )
    ]
    return "0x" + encode(["uint256", "bytes[]"], [1_000, answers]).hex()


def build_app(node: BenchNode) -> web.Application:
    async def on_rpc(request: web.Request) -> web.Response:
        answer = node.answer(await request.read())
        return web.Response(body=answer, content_type="application/json")

    async def on_matched(request: web.Request) -> web.Response:
        node.settle(await request.read())
        return web.Response()

    async def on_broke(request: web.Request) -> web.Response:
        node.set_broke(orjson.loads(await request.read()))
        return web.Response()

    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes(
        [
            web.post("/rpc", on_rpc),
            web.post("/matched", on_matched),
            web.post("/broke", on_broke),
        ]
    )
    return app


async def serve(port: int) -> None:
    runner = web.AppRunner(
        build_app(BenchNode(lambda: int(utc_now().timestamp()))), access_log=None
    )
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
