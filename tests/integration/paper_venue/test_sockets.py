"""A leader's trade is published at every socket with one transaction hash, and settled under it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import aiohttp
import pytest

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.blocks import Receipt
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.testing.waiting import eventually
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration


class SocketListener:
    """A client that records every frame; arrays are flattened."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.texts: list[str] = []
        self.frames: list[dict[str, Any]] = []

    async def listen(self) -> None:
        async for message in self.socket:
            self.texts.append(message.data)
            if message.data.startswith(("{", "[")):
                frame = json.loads(message.data)
                self.frames.extend(frame if isinstance(frame, list) else [frame])

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [
            frame for frame in self.frames if frame.get("event_type", frame.get("type")) == kind
        ]


@asynccontextmanager
async def connect_listener(url: str, *first: dict[str, Any]) -> AsyncIterator[SocketListener]:
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        listener = SocketListener(socket)
        task = asyncio.create_task(listener.listen())
        for frame in first:
            await socket.send_json(frame)
        try:
            yield listener
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def activity_subscription(*kinds: str) -> dict[str, Any]:
    return {
        "action": "subscribe",
        "subscriptions": [{"topic": "activity", "type": kind} for kind in kinds],
    }


async def make_leader_trade(venue: PaperVenue, **options: Any) -> dict[str, Any]:
    trade: dict[str, Any] = await venue.control(
        "leader-trade",
        {"leader": venue.world["leaders"][0], "side": "BUY", "usdc": "100"} | options,
    )
    return trade


def activity_rows(rtds: SocketListener, trade: dict[str, Any]) -> list[dict[str, Any]]:
    """The activity rows of one trade, in the order received."""
    payloads: list[dict[str, Any]] = [frame["payload"] for frame in rtds.frames]
    return [
        payload for payload in payloads if payload["transactionHash"] == trade["transaction_hash"]
    ]


async def wait_for_pong(listener: SocketListener) -> None:
    """Wait until everything sent before was handled: frames are answered in order."""
    await listener.socket.send_str("PING")
    await eventually(lambda: listener.texts, what="an answer")


async def test_a_leaders_fill_is_published_with_the_hash_under_which_it_is_mined(
    venue: PaperVenue, rpc_url: str
) -> None:
    token = venue.token(market=0)
    async with (
        connect_listener(venue.urls["rtds"], activity_subscription("trades")) as rtds,
        connect_listener(
            venue.urls["market_ws"], {"type": "market", "assets_ids": [token]}
        ) as market,
    ):
        await eventually(lambda: market.of_type("book"))
        await wait_for_pong(rtds)
        trade = await make_leader_trade(venue, token=token)
        await eventually(lambda: len(activity_rows(rtds, trade)) == 1 + len(trade["fills"]))
        (last_trade,) = await eventually(lambda: market.of_type("last_trade_price"))
        await eventually(lambda: len(market.of_type("book")) == 2)

    taker, *makers = activity_rows(rtds, trade)
    assert (taker["proxyWallet"], taker["asset"], taker["side"]) == (
        venue.world["leaders"][0],
        token,
        "BUY",
    )
    assert taker["fee"] > 0
    assert all("fee" not in maker for maker in makers)
    assert (last_trade["transaction_hash"], last_trade["side"]) == (
        trade["transaction_hash"],
        "BUY",
    )
    chain = ChainClient(Rpc(rpc_url))
    mined: Callable[[], Awaitable[Receipt | None]] = partial(
        chain.fetch_receipt, trade["transaction_hash"]
    )
    receipt: Receipt | None = await eventually(mined)
    assert receipt is not None
    fills = await chain.fetch_order_fills(
        receipt.block_number, receipt.block_number, [venue.world["leaders"][0]]
    )
    await chain.close()
    assert receipt.succeeded
    (fill,) = fills
    assert (str(fill.token_id), fill.taker) == (token, EXCHANGE_V2)


async def test_a_client_subscribed_to_both_types_gets_every_fill_twice(venue: PaperVenue) -> None:
    async with connect_listener(
        venue.urls["rtds"], activity_subscription("trades", "orders_matched")
    ) as rtds:
        await wait_for_pong(rtds)
        trade = await make_leader_trade(venue, token=venue.token(market=0))
        expected = 2 * (1 + len(trade["fills"]))
        await eventually(lambda: len(activity_rows(rtds, trade)) == expected)

    assert [frame["type"] for frame in rtds.frames].count("trades") == [
        frame["type"] for frame in rtds.frames
    ].count("orders_matched")


async def test_one_unknown_topic_refuses_the_whole_subscription(venue: PaperVenue) -> None:
    subscription = activity_subscription("trades")
    subscription["subscriptions"].append({"topic": "nonsense", "type": "*"})
    async with connect_listener(venue.urls["rtds"], subscription) as rtds:
        (refused,) = await eventually(lambda: rtds.frames)

    assert refused["statusCode"] == 401


async def test_ping_is_answered_and_an_unknown_frame_ends_the_connection(venue: PaperVenue) -> None:
    async with connect_listener(venue.urls["market_ws"]) as market:
        await market.socket.send_str("PING")
        await eventually(lambda: market.texts == ["PONG"])
        await market.socket.send_json({"type": "nonsense"})
        await eventually(lambda: market.socket.closed)


async def test_an_unsubscribed_token_sends_no_more_events(venue: PaperVenue) -> None:
    token, other = venue.token(market=1), venue.token(market=2)
    async with connect_listener(
        venue.urls["market_ws"], {"type": "market", "assets_ids": [token]}
    ) as market:
        await eventually(lambda: market.of_type("book"))
        await market.socket.send_json({"operation": "subscribe", "assets_ids": [other]})
        await eventually(lambda: len(market.of_type("book")) == 2)
        await market.socket.send_json({"operation": "unsubscribe", "assets_ids": [token]})
        await market.socket.send_str("PING")
        await eventually(lambda: "PONG" in market.texts)
        await make_leader_trade(venue, token=token)
        await make_leader_trade(venue, token=other)
        (last_trade,) = await eventually(lambda: market.of_type("last_trade_price"))

    assert last_trade["asset_id"] == other


async def test_the_user_channel_publishes_an_orders_events(venue: PaperVenue) -> None:
    token = venue.token(market=0)
    async with venue.client("eoa") as (client, _):
        credentials = client.credentials
        auth = {
            "apiKey": credentials.key,
            "secret": credentials.secret,
            "passphrase": credentials.passphrase,
        }
        async with connect_listener(venue.urls["user_ws"], {"auth": auth, "type": "user"}) as user:
            await user.socket.send_str("PING")
            await eventually(lambda: "PONG" in user.texts)
            resting = await client.place_limit_order(
                asset_id=token, price="0.02", size="10", side="BUY"
            )
            assert resting.ok, resting.message
            await client.cancel_order(order_id=resting.order_id)
            filled = await client.place_market_order(
                asset_id=token, side="BUY", amount="20", max_price="0.95", order_type="FOK"
            )
            await eventually(
                lambda: (
                    [event["status"] for event in user.of_type("trade")]
                    == ["MATCHED", "MINED", "CONFIRMED"]
                )
            )

    assert filled.ok, filled.message
    events = [(event["id"], event["type"], event["status"]) for event in user.of_type("order")]
    assert events == [
        (resting.order_id, "PLACEMENT", "LIVE"),
        (resting.order_id, "CANCELLATION", "CANCELED"),
        (filled.order_id, "UPDATE", "MATCHED"),
    ]


async def test_an_unknown_key_is_disconnected_from_the_user_channel(venue: PaperVenue) -> None:
    auth = {
        "apiKey": "00000000-0000-0000-0000-000000000000",
        "secret": "c2VjcmV0",
        "passphrase": "p",
    }
    async with connect_listener(venue.urls["user_ws"], {"auth": auth, "type": "user"}) as user:
        await eventually(lambda: user.socket.closed)


async def test_a_leader_sells_a_part_of_his_position(venue: PaperVenue) -> None:
    token = venue.token(market=2, outcome=1)
    bought = await make_leader_trade(venue, token=token, usdc="60")
    sold = await make_leader_trade(venue, token=token, side="SELL", usdc="20")

    assert {fill["match"] for fill in bought["fills"] + sold["fills"]} <= {
        "complementary",
        "mint",
        "merge",
    }
    assert Decimal(sold["shares"]) < Decimal(bought["shares"])


async def test_the_leaders_make_the_requested_number_of_trades(venue: PaperVenue) -> None:
    before = await venue.control("stats")

    await venue.control("leaders/start", {"trades": 20, "per_second": "100"})

    async def ended() -> bool:
        stats = await venue.control("stats")
        return not stats["trading"] and bool(stats["settled"] + stats["failed"] == stats["matched"])

    has_ended: bool = await eventually(ended)
    assert has_ended
    after = await venue.control("stats")
    assert after["leader_trades"] == before["leader_trades"] + 20
    assert after["failed"] == before["failed"]
