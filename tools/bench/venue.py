"""A load generator that acts as venue and chain, and records when orders arrive.

It checks nothing: each order is matched completely, each wallet has large balances, and a trade is
final when it is asked for. The paper venue shows whether the pipeline is correct; here, time that
the venue uses would distort the measurement.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import WSMsgType, web
from eth_abi.abi import decode, encode

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.orders import SignedOrder, order_hash
from shared.chain.snapshot_code import SNAPSHOT_CREATION_CODE

HOST = "127.0.0.1"
UPDATE_INTERVAL_S = 0.25
"""How often each book changes: the pricer fetches one that is silent for two seconds by REST."""
LEVELS = 8
LARGE_AMOUNT = 10**15
WORD_DIGITS = 64
HANG_S = 60
"""Longer than any client waits for an answer."""
WALLET_CALLS = 10
"""Calls that read the balances for a BUY: one balance, and three for each of three exchanges."""


class BenchVenue:
    """CLOB, both sockets, and a chain node on one port."""

    def __init__(self, port: int) -> None:
        self.url, self._port = f"http://{HOST}:{port}", port
        self.arrivals: list[tuple[int, float]] = []
        """The salt and the time of each order, in the order of arrival."""
        self.hanging: Collection[str] = ()
        """Wallets for whom neither trades nor every second order are answered."""
        self.broke: Collection[str] = ()
        """Wallets that have no collateral."""
        self._orders: dict[str, list[Mapping[str, Any]]] = {}
        self._listeners: set[web.WebSocketResponse] = set()
        self._books: dict[web.WebSocketResponse, set[str]] = {}

    def environment(self) -> dict[str, str]:
        """The variables by which the services find it."""
        sockets = self.url.replace("http", "ws", 1)
        return {
            "CLOB_URL": self.url,
            "CLOB_MARKET_WS_URL": f"{sockets}/ws/market",
            "RTDS_WS_URL": f"{sockets}/rtds",
            "POLYGON_RPC_URL": f"{self.url}/rpc",
        }

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, backlog=1024).start()
        self._ticking = asyncio.create_task(self._update_books())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticking.cancel()
        await asyncio.wait((self._ticking,))
        await self._runner.cleanup()

    @property
    def has_listeners(self) -> bool:
        return bool(self._listeners)

    async def send_frame(self, frame: str) -> float:
        """Send a frame to all listeners of the activity feed. Returns the time of sending."""
        at = time.perf_counter()
        for listener in self._listeners:
            await listener.send_str(frame)
        return at

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/rtds", self._on_rtds),
            web.get("/ws/market", self._on_market_socket),
            web.post("/order", self._on_order),
            web.get("/data/trades", self._on_trades),
            web.post("/auth/api-key", self._on_api_key),
            web.get("/markets-by-token/{token}", self._on_market_by_token),
            web.get("/clob-markets/{condition}", self._on_market),
            web.get("/book", self._on_book),
            web.post("/rpc", self._on_rpc),
        ]

    # Orders

    async def _on_order(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        order = body["order"]
        self.arrivals.append((order["salt"], time.perf_counter()))
        if "maker" not in order:  # an order of the floor
            return web.Response(body=b"{}")
        earlier = self._orders.setdefault(order["maker"], [])
        earlier.append(order)
        if len(earlier) % 2 == 0:
            await self._hang_for(order["maker"])
        salt = str(order["salt"])
        return _json_response(
            {
                "success": True,
                "errorMsg": "",
                "orderID": f"0x{salt}",
                "status": "matched",
                "makingAmount": _to_decimal(order["makerAmount"]),
                "takingAmount": _to_decimal(order["takerAmount"]),
                "tradeIDs": [salt],
            }
        )

    async def _on_trades(self, request: web.Request) -> web.Response:
        """The trades of a wallet that were not returned before, already final."""
        await self._hang_for(request.query["maker_address"])
        orders = self._orders.pop(request.query["maker_address"], [])
        return _json_response(
            {"data": [_build_trade(order) for order in orders], "next_cursor": "LTE="}
        )

    async def _hang_for(self, wallet: str) -> None:
        if wallet in self.hanging:
            await asyncio.sleep(HANG_S)

    async def _on_api_key(self, request: web.Request) -> web.Response:
        secret = base64.urlsafe_b64encode(request.headers["POLY_ADDRESS"].encode()).decode()
        return _json_response(
            {
                "apiKey": "00000000-0000-4000-8000-000000000000",
                "secret": secret,
                "passphrase": "bench",
            }
        )

    # Markets

    async def _on_market_by_token(self, request: web.Request) -> web.Response:
        return _json_response({"condition_id": _condition_id(request.match_info["token"])})

    async def _on_market(self, request: web.Request) -> web.Response:
        token = str(int(request.match_info["condition"], 16))
        return _json_response(
            {
                "t": [{"t": token, "o": "Yes"}],
                "mts": 0.01,
                "mos": 5,
                "nr": False,
                "fd": {"r": 0.04, "e": 1, "to": True},
            }
        )

    async def _on_book(self, request: web.Request) -> web.Response:
        return _json_response(_build_book(request.query["token_id"]))

    async def _on_market_socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._books[socket] = set()
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    await self._on_market_frame(socket, frame.data)
        finally:
            del self._books[socket]
        return socket

    async def _on_market_frame(self, socket: web.WebSocketResponse, text: str) -> None:
        if text == "PING":
            await socket.send_str("PONG")
            return
        request_body = orjson.loads(text)
        tokens = (
            request_body["assets_ids"] if request_body.get("operation") != "unsubscribe" else []
        )
        for token in set(tokens) - self._books[socket]:
            await socket.send_str(orjson.dumps([_build_book(token)]).decode())
        self._books[socket].update(tokens)

    async def _update_books(self) -> None:
        while True:
            await asyncio.sleep(UPDATE_INTERVAL_S)
            for socket, tokens in list(self._books.items()):
                if tokens and not socket.closed:
                    await socket.send_str(
                        orjson.dumps(
                            {
                                "event_type": "price_change",
                                "price_changes": [_build_change(t) for t in tokens],
                            }
                        ).decode()
                    )

    # Leaders and chain

    async def _on_rtds(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._listeners.add(socket)
        try:
            async for frame in socket:
                if frame.data == "PING":
                    await socket.send_str("PONG")
        finally:
            self._listeners.discard(socket)
        return socket

    async def _on_rpc(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        answers = [
            {"jsonrpc": "2.0", "id": each["id"], "result": self._answer(each)}
            for each in (body if isinstance(body, list) else [body])
        ]
        return _json_response(answers if isinstance(body, list) else answers[0])

    def _answer(self, call: Mapping[str, Any]) -> object:
        if call["method"] == "eth_call":
            return answer_snapshot(call["params"], broke=self.broke)
        return ANSWERS[call["method"]](call["params"])


def _block_number() -> int:
    return 1_000 + int(time.monotonic())


def _build_header() -> dict[str, str]:
    return {
        "number": hex(_block_number()),
        "hash": f"0x{_block_number():064x}",
        "parentHash": f"0x{_block_number() - 1:064x}",
        "timestamp": hex(1_790_000_000),
    }


def answer_snapshot(params: Sequence[Any], *, broke: Collection[str] = ()) -> str:
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


ANSWERS: Mapping[str, Callable[[Sequence[Any]], object]] = {
    "eth_blockNumber": lambda _: hex(_block_number()),
    "eth_getBlockByNumber": lambda _: _build_header(),
    "eth_getLogs": lambda _: [],
}


def _json_response(payload: object) -> web.Response:
    return web.Response(body=orjson.dumps(payload), content_type="application/json")


def _to_decimal(base_units: str) -> str:
    whole, rest = divmod(int(base_units), 1_000_000)
    return f"{whole}.{rest:06d}"


def _condition_id(token: str) -> str:
    return f"0x{int(token):064x}"


def _build_book(token: str) -> dict[str, object]:
    return {
        "event_type": "book",
        "asset_id": token,
        "bids": [{"price": f"0.{40 + level}", "size": "100000"} for level in range(LEVELS)],
        "asks": [{"price": f"0.{59 - level}", "size": "100000"} for level in range(LEVELS)],
    }


def _build_change(token: str) -> dict[str, str]:
    return {
        "asset_id": token,
        "side": "BUY",
        "price": "0.40",
        "size": str(100_000 + int(time.monotonic() * 4) % 7),
    }


def _build_trade(order: Mapping[str, Any]) -> dict[str, object]:
    signed = SignedOrder(
        salt=order["salt"],
        maker=order["maker"],
        signer=order["signer"],
        token_id=int(order["tokenId"]),
        maker_amount=int(order["makerAmount"]),
        taker_amount=int(order["takerAmount"]),
        side=0,
        signature_type=order["signatureType"],
        timestamp=int(order["timestamp"]),
        metadata=order["metadata"],
        builder=order["builder"],
        signature=order["signature"],
    )
    return {
        "id": str(order["salt"]),
        "taker_order_id": order_hash(signed, EXCHANGE_V2, "2"),
        "status": "CONFIRMED",
        "asset_id": order["tokenId"],
        "size": _to_decimal(order["takerAmount"]),
        "price": "0.52",
        "match_time": "1790000000",
        "transaction_hash": f"0x{order['salt']:064x}",
        "maker_orders": [],
    }
