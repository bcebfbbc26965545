"""What does the pipeline need around it to be measured? A load generator that is venue and chain at
once, and notes when orders come.

It judges nothing: each order is matched whole, each wallet is rich, and a trade is final as soon as
it is asked for. Whether the pipeline is right is shown on the paper venue; here every microsecond
of the venue's own would blur what is measured.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import WSMsgType, web
from eth_abi.abi import encode

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.orders import SignedOrder, order_hash
from shared.chain.snapshot_code import SNAPSHOT_CREATION_CODE

HOST = "127.0.0.1"
TICK_S = 0.25
"""How often each book says something: a token whose book is silent for two seconds would be asked
for by REST."""
LEVELS = 8
RICH = 10**15
WORD_DIGITS = 64
WALLET_CALLS = 10
"""Views that a BUY's balance is read by: one balance, and three for each of the three exchanges."""


class BenchVenue:
    """CLOB, both sockets, and a chain node on one port."""

    def __init__(self, port: int) -> None:
        self.url, self._port = f"http://{HOST}:{port}", port
        self.arrived: list[tuple[int, float]] = []
        """Salt of each order, and when it came, in the order of arrival."""
        self._orders: dict[str, list[Mapping[str, Any]]] = {}
        self._listeners: set[web.WebSocketResponse] = set()
        self._books: dict[web.WebSocketResponse, set[str]] = {}

    def environment(self) -> dict[str, str]:
        """By which the services find it."""
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
        self._ticking = asyncio.create_task(self._tick())
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
    def is_listened_to(self) -> bool:
        return bool(self._listeners)

    async def say(self, frame: str) -> float:
        """Send a frame to whoever listens to the activity feed, and return when."""
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
            web.get("/markets-by-token/{token}", self._on_market_of),
            web.get("/clob-markets/{condition}", self._on_market),
            web.get("/book", self._on_book),
            web.post("/rpc", self._on_rpc),
        ]

    # Orders

    async def _on_order(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        order = body["order"]
        self.arrived.append((order["salt"], time.perf_counter()))
        if "maker" not in order:  # the floor's
            return web.Response(body=b"{}")
        self._orders.setdefault(order["maker"], []).append(order)
        salt = str(order["salt"])
        return _json(
            {
                "success": True,
                "errorMsg": "",
                "orderID": f"0x{salt}",
                "status": "matched",
                "makingAmount": _whole(order["makerAmount"]),
                "takingAmount": _whole(order["takerAmount"]),
                "tradeIDs": [salt],
            }
        )

    async def _on_trades(self, request: web.Request) -> web.Response:
        """A wallet's trades that were not told yet: final at first sight."""
        orders = self._orders.pop(request.query["maker_address"], [])
        return _json({"data": [_trade(order) for order in orders], "next_cursor": "LTE="})

    async def _on_api_key(self, request: web.Request) -> web.Response:
        secret = base64.urlsafe_b64encode(request.headers["POLY_ADDRESS"].encode()).decode()
        return _json(
            {
                "apiKey": "00000000-0000-4000-8000-000000000000",
                "secret": secret,
                "passphrase": "bench",
            }
        )

    # Markets

    async def _on_market_of(self, request: web.Request) -> web.Response:
        return _json({"condition_id": _condition(request.match_info["token"])})

    async def _on_market(self, request: web.Request) -> web.Response:
        token = str(int(request.match_info["condition"], 16))
        return _json(
            {
                "t": [{"t": token, "o": "Yes"}],
                "mts": 0.01,
                "mos": 5,
                "nr": False,
                "fd": {"r": 0.04, "e": 1, "to": True},
            }
        )

    async def _on_book(self, request: web.Request) -> web.Response:
        return _json(_book(request.query["token_id"]))

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
        asked = orjson.loads(text)
        tokens = asked["assets_ids"] if asked.get("operation") != "unsubscribe" else []
        for token in set(tokens) - self._books[socket]:
            await socket.send_str(orjson.dumps([_book(token)]).decode())
        self._books[socket].update(tokens)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for socket, tokens in list(self._books.items()):
                if tokens and not socket.closed:
                    await socket.send_str(
                        orjson.dumps(
                            {
                                "event_type": "price_change",
                                "price_changes": [_change(t) for t in tokens],
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
        asked = orjson.loads(await request.read())
        answers = [
            {"jsonrpc": "2.0", "id": each["id"], "result": ANSWERS[each["method"]](each["params"])}
            for each in asked
        ]
        return _json(answers)


def _height() -> int:
    return 1_000 + int(time.monotonic())


def _header() -> dict[str, str]:
    return {
        "number": hex(_height()),
        "hash": f"0x{_height():064x}",
        "parentHash": f"0x{_height() - 1:064x}",
        "timestamp": hex(1_790_000_000),
    }


def _snapshot(params: Sequence[Any]) -> str:
    """Every balance and allowance is large, everything is approved. The call's argument is a list;
    its length stands after its place.
    """
    argument = params[0]["data"].removeprefix(SNAPSHOT_CREATION_CODE)
    return _rich_wallets(int(argument[WORD_DIGITS : 2 * WORD_DIGITS], 16) // WALLET_CALLS)


@cache
def _rich_wallets(count: int) -> str:
    amount, yes = encode(["uint256"], [RICH]), encode(["bool"], [True])
    answers = [amount] + [amount, yes, yes] * ((WALLET_CALLS - 1) // 3)
    return "0x" + encode(["uint256", "bytes[]"], [1_000, answers * count]).hex()


ANSWERS: Mapping[str, Callable[[Sequence[Any]], object]] = {
    "eth_call": _snapshot,
    "eth_blockNumber": lambda _: hex(_height()),
    "eth_getBlockByNumber": lambda _: _header(),
    "eth_getLogs": lambda _: [],
}


def _json(payload: object) -> web.Response:
    return web.Response(body=orjson.dumps(payload), content_type="application/json")


def _whole(base_units: str) -> str:
    whole, rest = divmod(int(base_units), 1_000_000)
    return f"{whole}.{rest:06d}"


def _condition(token: str) -> str:
    return f"0x{int(token):064x}"


def _book(token: str) -> dict[str, object]:
    return {
        "event_type": "book",
        "asset_id": token,
        "bids": [{"price": f"0.{40 + level}", "size": "100000"} for level in range(LEVELS)],
        "asks": [{"price": f"0.{59 - level}", "size": "100000"} for level in range(LEVELS)],
    }


def _change(token: str) -> dict[str, str]:
    return {
        "asset_id": token,
        "side": "BUY",
        "price": "0.40",
        "size": str(100_000 + int(time.monotonic() * 4) % 7),
    }


def _trade(order: Mapping[str, Any]) -> dict[str, object]:
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
        "size": _whole(order["takerAmount"]),
        "price": "0.52",
        "match_time": "1790000000",
        "transaction_hash": f"0x{order['salt']:064x}",
        "maker_orders": [],
    }
