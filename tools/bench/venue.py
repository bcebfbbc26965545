"""A load generator that acts as the venue, and records when orders arrive.

It checks nothing: each order is matched completely, and the benchmark's node (``node.py``) settles
it. A trade is final when it is asked for. The paper venue shows whether the pipeline is correct;
here, time that the venue uses would distort the measurement.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Collection, Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import ClientSession, WSMsgType, web

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.orders import order_hash
from tools.bench.chain_blocks import parse_order, settlement_transaction
from tools.bench.followers import build_credentials

HOST = "127.0.0.1"
UPDATE_INTERVAL_S = 0.25
"""How often each book changes: the pricer fetches one that is silent for two seconds by REST."""
LEVELS = 8
FORWARD_INTERVAL_S = 0.1
"""How often matched orders go to the node."""
SHOWN_TRADES = 50
"""How many trades of a wallet, its newest, are shown: more than it has open orders."""
NO_RATE_LIMIT = "1000"
"""The venue on this machine has no limit per address."""
HANG_S = 60
"""Longer than any client waits for an answer."""


class MatchedOrder:
    """An order as it was posted, and its trade, which is built once it is asked for."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order

    @cached_property
    def order_id(self) -> str:
        return order_hash(parse_order(self._order), EXCHANGE_V2, "2")

    @cached_property
    def trade(self) -> Mapping[str, object]:
        return _build_trade(self._order, self.order_id)


class BenchVenue:
    """CLOB and both sockets on one port. ``node_url``: the benchmark's node."""

    def __init__(self, port: int, *, node_url: str) -> None:
        self.url, self._port = f"http://{HOST}:{port}", port
        self._node_url = node_url
        self.arrivals: list[tuple[int, float]] = []
        """The salt and the time of each order, in the order of arrival."""
        self.hanging: Collection[str] = ()
        """Wallets for whom neither trades nor every second order are answered."""
        self._posted: Counter[str] = Counter()
        """Orders of each wallet."""
        self._orders: dict[str, deque[MatchedOrder]] = {}
        self._matched: list[bytes] = []
        """What was posted and the node does not know yet."""
        self._listeners: set[web.WebSocketResponse] = set()
        self._books: dict[web.WebSocketResponse, set[str]] = {}

    def environment(self) -> dict[str, str]:
        """The variables by which the services find it."""
        sockets = self.url.replace("http", "ws", 1)
        return {
            "CLOB_URL": self.url,
            "CLOB_MARKET_WS_URL": f"{sockets}/ws/market",
            "RTDS_WS_URL": f"{sockets}/rtds",
            "VENUE_RATE_SHARE": NO_RATE_LIMIT,
            "POLYGON_RPC_URL": f"{self._node_url}/rpc",
        }

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port, backlog=1024).start()
        self._node = ClientSession(self._node_url)
        self._tasks = [
            asyncio.create_task(self._update_books()),
            asyncio.create_task(self._forward_matched()),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._node.close()
        await self._runner.cleanup()
        for task in self._tasks:
            if error is None and not task.cancelled():
                task.result()  # why it ended before it was cancelled

    async def set_broke(self, wallets: Collection[str]) -> None:
        """The wallets that have no collateral from now on."""
        async with self._node.post("/broke", data=orjson.dumps(list(wallets))) as reply:
            reply.raise_for_status()

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
            web.get("/data/order/{order_id}", self._on_order_lookup),
            web.post("/auth/api-key", self._on_api_key),
            web.get("/markets-by-token/{token}", self._on_market_by_token),
            web.get("/clob-markets/{condition}", self._on_market),
            web.get("/book", self._on_book),
        ]

    # Orders

    async def _on_order(self, request: web.Request) -> web.Response:
        posted = await request.read()
        order = orjson.loads(posted)["order"]
        self.arrivals.append((order["salt"], time.perf_counter()))
        if "maker" not in order:  # an order of the floor
            return web.Response(body=b"{}")
        maker = order["maker"]
        self._posted[maker] += 1
        self._matched.append(posted)
        matched = MatchedOrder(order)
        self._orders.setdefault(maker, deque(maxlen=SHOWN_TRADES)).append(matched)
        if self._posted[maker] % 2 == 0:
            await self._hang_for(maker)
        return _json_response(
            {
                "success": True,
                "errorMsg": "",
                "orderID": matched.order_id,
                "status": "matched",
                "makingAmount": _to_decimal(order["makerAmount"]),
                "takingAmount": _to_decimal(order["takerAmount"]),
                "tradeIDs": [str(order["salt"])],
            }
        )

    async def _on_trades(self, request: web.Request) -> web.Response:
        """The wallet's newest trades, already final."""
        await self._hang_for(request.query["maker_address"])
        orders = self._orders.get(request.query["maker_address"], ())
        return _json_response({"data": [order.trade for order in orders], "next_cursor": "LTE="})

    async def _on_order_lookup(self, _request: web.Request) -> web.Response:
        """No order rests here: each is matched, or was never received."""
        return _json_response(None)

    async def _forward_matched(self) -> None:
        while True:
            await asyncio.sleep(FORWARD_INTERVAL_S)
            if self._matched:
                bodies, self._matched = self._matched, []
                async with self._node.post("/matched", data=b"[%s]" % b",".join(bodies)) as reply:
                    reply.raise_for_status()

    async def _hang_for(self, wallet: str) -> None:
        if wallet in self.hanging:
            await asyncio.sleep(HANG_S)

    async def _on_api_key(self, request: web.Request) -> web.Response:
        issued = build_credentials(request.headers["POLY_ADDRESS"])
        return _json_response(
            {"apiKey": issued.key, "secret": issued.secret, "passphrase": issued.passphrase}
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

    # Leaders

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


def _build_trade(order: Mapping[str, Any], order_id: str) -> dict[str, object]:
    return {
        "id": str(order["salt"]),
        "taker_order_id": order_id,
        "status": "CONFIRMED",
        "asset_id": order["tokenId"],
        "size": _to_decimal(order["takerAmount"]),
        "price": "0.52",
        "match_time": "1790000000",
        "transaction_hash": settlement_transaction(int(order["salt"])),
        "maker_orders": [],
    }
