"""What leaders trade, and how ingest's three feeds report it to each instance."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from websockets.exceptions import ConnectionClosed

from shared.chain.addresses import EXCHANGE_V2
from shared.clock import utc_now
from tests.nodes import ChainModel, LimitedNode, a_fill_log, a_transaction_hash
from tests.system.activity_socket import FakeActivitySocket

GENESIS_S, BLOCK_S = 1_790_000_000, 2
"""The time of block 0 in ``tests.nodes``, and between two blocks."""
TOKEN_ID = 10**70


def newest_block() -> int:
    return (int(utc_now().timestamp()) - GENESIS_S) // BLOCK_S


@dataclass(kw_only=True)
class Sources:
    """The chain, the Data API and the activity socket, each with an address for every instance, so
    that it is known who asks for which leader.
    """

    chain: ChainModel
    sockets: list[FakeActivitySocket]
    url: str = ""
    asked_of_chain: dict[int, set[str]] = field(default_factory=dict)
    """The leaders of each instance's last request for logs, in lower case."""
    asked_of_data_api: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """The instances that asked for each leader, in lower case."""
    trades: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The leader of each trade, and its row of the Data API."""

    def urls(self, instance: int) -> dict[str, str]:
        return {
            "POLYGON_RPC_URL": f"{self.url}/{instance}/rpc",
            "DATA_URL": f"{self.url}/{instance}",
            "RTDS_WS_URL": self.sockets[instance].url,
        }

    async def trade(self, leader: str) -> str:
        """The leader buys 10 shares for 5 USDC in the newest block; its transaction."""
        number = len(self.trades)
        self.chain.head = max(self.chain.head, newest_block())
        block, transaction = self.chain.head, a_transaction_hash(number)
        self.chain.logs.append(
            a_fill_log(number, maker=leader, block=block, exchange=EXCHANGE_V2, token_id=TOKEN_ID)
        )
        row = {
            "proxy_wallet": leader,
            "transaction_hash": transaction,
            "token_id": str(TOKEN_ID),
            "side": "BUY",
            "size": 10,
            "price": 0.5,
            "timestamp": GENESIS_S + BLOCK_S * block,
        }
        self.trades.append((leader, row))
        for socket in self.sockets:
            try:
                await socket.send(json.dumps(an_envelope(row)))
            except (LookupError, ConnectionClosed):
                continue  # its instance is not there
        return transaction

    async def serve_chain(self, request: web.Request) -> web.StreamResponse:
        instance = int(request.match_info["instance"])

        def answer(call: Mapping[str, Any]) -> Any:
            if call["method"] == "eth_getLogs":
                makers = call["params"][0]["topics"][2]
                self.asked_of_chain[instance] = {f"0x{maker[-40:]}".lower() for maker in makers}
            return self.chain(call)

        return await LimitedNode(answer=answer)(await request.json())

    async def serve_trades(self, request: web.Request) -> web.StreamResponse:
        wallet = request.query["user"]
        self.asked_of_data_api[wallet.lower()].add(int(request.match_info["instance"]))
        start, end = int(request.query["start"]), int(request.query["end"])
        rows = [
            row
            for leader, row in reversed(self.trades)
            if leader == wallet and start <= row["timestamp"] <= end
        ]
        return web.json_response({"data": rows, "pagination": {"next_cursor": None}})


def an_envelope(row: Mapping[str, Any]) -> dict[str, Any]:
    payload = {
        "proxyWallet": row["proxy_wallet"],
        "transactionHash": row["transaction_hash"],
        "asset": row["token_id"],
        **{name: row[name] for name in ("side", "size", "price", "timestamp")},
        "title": "Will it rain?",
        "outcome": "Yes",
    }
    return {"topic": "activity", "type": "trades", "timestamp": 1, "payload": payload}


@asynccontextmanager
async def serving_sources(*, instances: int) -> AsyncIterator[Sources]:
    head = newest_block()
    sources = Sources(
        chain=ChainModel(head=head), sockets=[FakeActivitySocket() for _ in range(instances)]
    )
    app = web.Application()
    app.router.add_post("/{instance}/rpc", sources.serve_chain)
    app.router.add_get("/{instance}/v2/trades", sources.serve_trades)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sources.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    for socket in sources.sockets:
        await socket.__aenter__()
    try:
        yield sources
    finally:
        for socket in sources.sockets:
            await socket.__aexit__(None, None, None)
        await runner.cleanup()
