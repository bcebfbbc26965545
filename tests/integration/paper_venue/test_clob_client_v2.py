"""The independent judge: py-clob-client-v2, unmodified, trades on the venue and finds its hashes and replies right."""

import asyncio
from typing import Any

import pytest
from py_clob_client_v2.client import ClobClient
from py_clob_client_v2.clob_types import (
    AssetType,
    BalanceAllowanceParams,
    MarketOrderArgsV2,
    OpenOrderParams,
    OrderArgsV2,
    OrderType,
    TradeParams,
)

from tests.integration.paper_venue.conftest import PaperVenue

pytestmark = pytest.mark.integration


@pytest.fixture(params=["eoa", "safe"])
async def client(venue: PaperVenue, request: pytest.FixtureRequest) -> Any:
    (account,) = await venue.control("accounts", {"kind": request.param, "count": 1, "usdc": "1000"})
    signature_type = 2 if request.param == "safe" else 0

    def connect() -> Any:
        found = ClobClient(venue.urls["clob"], 137, key=account["private_key"], signature_type=signature_type, funder=account["proxy"])
        found.set_api_creds(found.create_or_derive_api_key())
        return found

    return await asyncio.to_thread(connect)


async def test_a_market_order_fills(venue: PaperVenue, client: Any) -> None:
    token = venue.token()

    def trade() -> Any:
        order = client.create_market_order(MarketOrderArgsV2(token_id=token, amount=25, side="BUY", order_type=OrderType.FOK))
        return client.post_order(order, OrderType.FOK)

    posted = await asyncio.to_thread(trade)
    trades = await asyncio.to_thread(client.get_trades, TradeParams(id=posted["tradeIDs"][0]))

    assert (posted["success"], posted["status"]) == (True, "matched")
    assert posted["transactionsHashes"] == [trades[0]["transaction_hash"]]
    assert (trades[0]["taker_order_id"], trades[0]["trader_side"]) == (posted["orderID"], "TAKER")


async def test_a_limit_order_rests_and_is_cancelled(venue: PaperVenue, client: Any) -> None:
    token = venue.token()

    def place() -> Any:
        return client.post_order(client.create_order(OrderArgsV2(token_id=token, price=0.03, size=10, side="BUY")), OrderType.GTC)

    posted = await asyncio.to_thread(place)
    listed = await asyncio.to_thread(client.get_open_orders, OpenOrderParams(asset_id=token))
    cancelled = await asyncio.to_thread(client.cancel_all)

    assert posted["status"] == "live"
    assert [order["id"] for order in listed] == [posted["orderID"]]
    assert cancelled["canceled"] == [posted["orderID"]]


async def test_the_books_hash_is_the_one_that_the_client_computes(venue: PaperVenue, client: Any) -> None:
    book = await asyncio.to_thread(client.get_order_book, venue.token())
    told = book["hash"]

    assert await asyncio.to_thread(client.get_order_book_hash, book) == told


async def test_balances_are_told_after_an_update(venue: PaperVenue, client: Any) -> None:
    asked = BalanceAllowanceParams(asset_type=AssetType.COLLATERAL)

    await asyncio.to_thread(client.update_balance_allowance, asked)
    told = await asyncio.to_thread(client.get_balance_allowance, asked)

    assert told["balance"] == "1000000000"
    assert told["allowances"][venue.world["contracts"]["exchange_v2"]] == str(2**256 - 1)


async def test_prices_agree_with_the_book(venue: PaperVenue, client: Any) -> None:
    token = venue.token(market=3)

    book = await asyncio.to_thread(client.get_order_book, token)
    bid = await asyncio.to_thread(client.get_price, token, "BUY")
    ask = await asyncio.to_thread(client.get_price, token, "SELL")

    assert bid == {"price": book["bids"][-1]["price"]}
    assert ask == {"price": book["asks"][-1]["price"]}
    assert await asyncio.to_thread(client.get_tick_size, token) == book["tick_size"]
    assert await asyncio.to_thread(client.get_server_time) > 1_700_000_000
