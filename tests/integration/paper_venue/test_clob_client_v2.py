"""The unmodified py-clob-client-v2 trades on the venue, and accepts its hashes and replies."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from py_clob_client_v2.client import ClobClient
from py_clob_client_v2.clob_types import (
    AssetType,
    BalanceAllowanceParams,
    BookParams,
    MarketOrderArgsV2,
    OpenOrderParams,
    OrderArgsV2,
    OrderMarketCancelParams,
    OrderPayload,
    OrderType,
    PostOrdersV2Args,
    TradeParams,
)
from py_clob_client_v2.exceptions import PolyApiException

from shared.chain.addresses import LIVE_EXCHANGES
from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

SIGNATURE_TYPES = {"eoa": 0, "proxy": 1, "safe": 2, "deposit": 3}
MARKETS = {"v1": ("v1", False), "neg-risk": ("v1", True), "v2": ("v2", False)}


@pytest.fixture(params=list(SIGNATURE_TYPES))
async def client(venue: PaperVenue, request: pytest.FixtureRequest) -> Any:
    (account,) = await venue.control(
        "accounts", {"kind": request.param, "count": 1, "usdc": "1000"}
    )
    signature_type = SIGNATURE_TYPES[request.param]

    def connect() -> Any:
        client = ClobClient(
            venue.urls["clob"],
            137,
            key=account["private_key"],
            signature_type=signature_type,
            funder=account["proxy"],
        )
        client.set_api_creds(client.create_or_derive_api_key())
        return client

    return await asyncio.to_thread(connect)


@pytest.fixture(params=list(MARKETS))
def asset(venue: PaperVenue, request: pytest.FixtureRequest) -> dict[str, str]:
    """A token as this client names it: by ``token_id``, or ``position_id`` in v2 markets."""
    version, neg_risk = MARKETS[request.param]
    market = next(
        each
        for each in venue.world["markets"]
        if (each["version"], each["neg_risk"]) == (version, neg_risk)
    )
    return {"position_id" if version == "v2" else "token_id": market["token_ids"][0]}


def token_id(asset: dict[str, str]) -> str:
    (token,) = asset.values()
    return token


async def test_a_market_order_fills(client: Any, asset: dict[str, str]) -> None:
    def trade() -> Any:
        order = client.create_market_order(
            MarketOrderArgsV2(**asset, amount=25, side="BUY", price=0.99, order_type=OrderType.FOK)
        )
        return client.post_order(order, OrderType.FOK)

    posted = await asyncio.to_thread(trade)
    trades = await asyncio.to_thread(client.get_trades, TradeParams(id=posted["tradeIDs"][0]))

    assert (posted["success"], posted["status"]) == (True, "matched")
    assert posted["transactionsHashes"] == [trades[0]["transaction_hash"]]
    assert (trades[0]["taker_order_id"], trades[0]["trader_side"]) == (posted["orderID"], "TAKER")


async def test_a_tampered_order_is_refused(client: Any, asset: dict[str, str]) -> None:
    def tamper() -> Any:
        order = client.create_order(OrderArgsV2(**asset, price=0.03, size=10, side="BUY"))
        return client.post_order(dataclasses.replace(order, makerAmount="400000"), OrderType.GTC)

    with pytest.raises(PolyApiException) as refused:
        await asyncio.to_thread(tamper)

    assert (refused.value.status_code, refused.value.error_msg) == (
        400,
        {"error": "invalid signature"},
    )


async def test_limit_orders_rest_and_are_cancelled_in_every_way(
    client: Any, asset: dict[str, str]
) -> None:
    token = token_id(asset)

    def live() -> dict[str, Any]:
        def limit(price: float) -> Any:
            return client.create_order(OrderArgsV2(**asset, price=price, size=10, side="BUY"))

        placed = [
            client.post_order(limit(0.02), OrderType.GTC),
            client.post_order(limit(0.02), OrderType.GTC, post_only=True),
        ]
        placed += client.post_orders(
            [
                PostOrdersV2Args(order=limit(price), orderType=OrderType.GTC)
                for price in (0.03, 0.04, 0.05)
            ]
        )
        ids = [row["orderID"] for row in placed]
        return {
            "ids": ids,
            "statuses": {row["status"] for row in placed},
            "single": client.get_order(ids[0])["id"],
            "listed": {
                row["id"] for row in client.get_open_orders(OpenOrderParams(asset_id=token))
            },
            "one": client.cancel_order(OrderPayload(orderID=ids[0]))["canceled"],
            "two": client.cancel_orders(ids[1:3])["canceled"],
            "market": client.cancel_market_orders(OrderMarketCancelParams(asset_id=token))[
                "canceled"
            ],
            "all": client.cancel_all()["canceled"],
        }

    replies = await asyncio.to_thread(live)

    ids = replies["ids"]
    assert replies["statuses"] == {"live"}
    assert replies["single"] == ids[0]
    assert replies["listed"] == set(ids)
    assert (replies["one"], replies["two"], set(replies["market"]), replies["all"]) == (
        ids[:1],
        ids[1:3],
        set(ids[3:]),
        [],
    )


async def test_the_books_hash_is_the_one_that_the_client_computes(
    client: Any, asset: dict[str, str]
) -> None:
    book = await asyncio.to_thread(client.get_order_book, token_id(asset))
    replies = book["hash"]

    assert await asyncio.to_thread(client.get_order_book_hash, book) == replies


async def test_balances_are_read_after_an_update(client: Any) -> None:
    params = BalanceAllowanceParams(asset_type=AssetType.COLLATERAL)

    await asyncio.to_thread(client.update_balance_allowance, params)
    replies = await asyncio.to_thread(client.get_balance_allowance, params)

    assert replies["balance"] == "1000000000"
    assert replies["allowances"] == {exchange: str(2**256 - 1) for exchange in LIVE_EXCHANGES}


async def test_prices_agree_with_the_book(client: Any, asset: dict[str, str]) -> None:
    token = token_id(asset)
    params = [BookParams(token_id=token, side="BUY")]

    def read() -> dict[str, Any]:
        return {
            "book": client.get_order_book(token),
            "bid": client.get_price(token, "BUY"),
            "ask": client.get_price(token, "SELL"),
            "prices": client.get_prices(params),
            "mids": client.get_midpoints(params),
            "spreads": client.get_spreads(params),
            "tick": client.get_tick_size(token),
            "neg_risk": client.get_neg_risk(token),
            "time": client.get_server_time(),
        }

    replies = await asyncio.to_thread(read)

    book = replies["book"]
    assert replies["bid"] == {"price": book["bids"][-1]["price"]}
    assert replies["ask"] == {"price": book["asks"][-1]["price"]}
    assert replies["prices"] == {token: {"BUY": book["bids"][-1]["price"]}}
    assert replies["mids"].keys() == replies["spreads"].keys() == {token}
    assert (replies["tick"], replies["neg_risk"]) == (book["tick_size"], book["neg_risk"])
    assert replies["time"] > 1_700_000_000


async def test_keys_and_heartbeats(client: Any) -> None:
    def act() -> dict[str, Any]:
        return {
            "keys": client.get_api_keys(),
            "closed_only": client.get_closed_only_mode(),
            "heartbeat": client.post_heartbeat(),
            "version": client.get_version(),
            "old": client.get_pre_migration_orders(),
        }

    replies = await asyncio.to_thread(act)

    assert replies["keys"] == {"apiKeys": [client.creds.api_key]}
    assert replies["closed_only"] == {"closed_only": False}
    assert replies["heartbeat"]["heartbeat_id"]
    assert (replies["version"], replies["old"]) == (2, [])
