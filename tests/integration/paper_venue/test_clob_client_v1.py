"""The unmodified, archived py-clob-client 0.34.6 still reads, manages keys and cancels; its orders
are refused as at the venue.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from py_clob_client.client import ClobClient  # type: ignore[import-untyped]
from py_clob_client.clob_types import (  # type: ignore[import-untyped]
    AssetType,
    BalanceAllowanceParams,
    BookParams,
    OpenOrderParams,
    OrderArgs,
    OrderType,
    TradeParams,
)
from py_clob_client.exceptions import PolyApiException  # type: ignore[import-untyped]

from tests.integration.paper_venue.venue import PaperVenue

pytestmark = pytest.mark.integration

SIGNATURE_TYPES = {"eoa": 0, "proxy": 1, "safe": 2}


@pytest.fixture(params=list(SIGNATURE_TYPES))
async def client(venue: PaperVenue, request: pytest.FixtureRequest) -> Any:
    (account,) = await venue.control(
        "accounts", {"kind": request.param, "count": 1, "usdc": "1000"}
    )

    def connect() -> Any:
        client = ClobClient(
            venue.urls["clob"],
            key=account["private_key"],
            chain_id=137,
            signature_type=SIGNATURE_TYPES[request.param],
            funder=account["proxy"],
        )
        client.set_api_creds(client.create_or_derive_api_creds())
        return client

    return await asyncio.to_thread(connect)


async def test_its_orders_are_refused_with_the_venues_text(venue: PaperVenue, client: Any) -> None:
    def place() -> Any:
        return client.post_order(
            client.create_order(OrderArgs(token_id=venue.token(), price=0.03, size=10, side="BUY")),
            OrderType.GTC,
        )

    with pytest.raises(PolyApiException) as refused:
        await asyncio.to_thread(place)

    assert refused.value.status_code == 400
    assert refused.value.error_msg == {
        "error": "invalid order version, please use the latest clob-client"
    }


async def test_it_reads_the_markets(venue: PaperVenue, client: Any) -> None:
    token, other = venue.token(), venue.token(market=1)
    both = [BookParams(token_id=token, side="BUY"), BookParams(token_id=other, side="SELL")]

    def read() -> dict[str, Any]:
        return {
            "ok": client.get_ok(),
            "time": client.get_server_time(),
            "book": client.get_order_book(token),
            "books": client.get_order_books(both),
            "mid": client.get_midpoint(token),
            "mids": client.get_midpoints(both),
            "price": client.get_price(token, "BUY"),
            "prices": client.get_prices(both),
            "spread": client.get_spread(token),
            "spreads": client.get_spreads(both),
            "last": client.get_last_trade_price(token),
            "lasts": client.get_last_trades_prices(both),
            "tick": client.get_tick_size(token),
            "neg_risk": client.get_neg_risk(token),
            "fee": client.get_fee_rate_bps(token),
            "markets": client.get_markets(),
            "simplified": client.get_simplified_markets(),
            "sampling": client.get_sampling_markets(),
            "simplified_sampling": client.get_sampling_simplified_markets(),
            "market": client.get_market(venue.world["markets"][0]["condition_id"]),
        }

    replies = await asyncio.to_thread(read)

    book = replies["book"]
    assert replies["ok"] == "OK"
    assert replies["time"] > 1_700_000_000
    assert [book.asset_id for book in replies["books"]] == [token, other]
    assert replies["price"] == {"price": book.bids[-1].price}
    assert (
        replies["prices"].keys()
        == replies["mids"].keys()
        == replies["spreads"].keys()
        == {token, other}
    )
    assert replies["prices"][token] == {"BUY": book.bids[-1].price}
    assert replies["mids"][token] == replies["mid"]["mid"]
    assert replies["spreads"][token] == replies["spread"]["spread"]
    assert (replies["tick"], replies["neg_risk"], replies["fee"]) == (
        book.tick_size,
        book.neg_risk,
        0,
    )
    all_markets = {market["condition_id"] for market in venue.world["markets"]}
    open_markets = {
        market["condition_id"] for market in replies["markets"]["data"] if not market["closed"]
    }
    for name, expected in {
        "markets": all_markets,
        "simplified": all_markets,
        "sampling": open_markets,
        "simplified_sampling": open_markets,
    }.items():
        assert {market["condition_id"] for market in replies[name]["data"]} == expected, name
        assert replies[name]["next_cursor"] == "LTE="
    assert [token["token_id"] for token in replies["market"]["tokens"]] == venue.world["markets"][
        0
    ]["token_ids"]


async def test_its_keys_and_cancels_work(venue: PaperVenue, client: Any) -> None:
    def act() -> dict[str, Any]:
        return {
            "keys": client.get_api_keys(),
            "closed_only": client.get_closed_only_mode(),
            "readonly": client.create_readonly_api_key(),
            "readonly_keys": client.get_readonly_api_keys(),
            "orders": client.get_orders(OpenOrderParams()),
            "trades": client.get_trades(TradeParams()),
            "balance": client.get_balance_allowance(
                BalanceAllowanceParams(asset_type=AssetType.COLLATERAL)
            ),
            "cancel": client.cancel("0x" + "12" * 32),
            "cancel_orders": client.cancel_orders(["0x" + "12" * 32]),
            "cancel_all": client.cancel_all(),
            "cancel_market_orders": client.cancel_market_orders(
                market=venue.world["markets"][0]["condition_id"]
            ),
            "derived": client.derive_api_key(),
        }

    replies = await asyncio.to_thread(act)

    assert replies["keys"] == {"apiKeys": [client.creds.api_key]}
    assert replies["derived"] == client.creds
    assert replies["closed_only"] == {"closed_only": False}
    assert replies["readonly_keys"] == [replies["readonly"].api_key]
    assert (replies["orders"], replies["trades"]) == ([], [])
    assert replies["balance"]["balance"] == "1000000000"
    assert int(replies["balance"]["allowance"]) > 0
    missing = {
        "canceled": [],
        "not_canceled": {"0x" + "12" * 32: "the order is already canceled or matched"},
    }
    assert (replies["cancel"], replies["cancel_orders"]) == (missing, missing)
    assert (
        replies["cancel_all"]
        == replies["cancel_market_orders"]
        == {"canceled": [], "not_canceled": {}}
    )


async def test_a_deleted_key_is_denied(client: Any) -> None:
    await asyncio.to_thread(client.delete_api_key)

    with pytest.raises(PolyApiException) as denied:
        await asyncio.to_thread(client.get_api_keys)

    assert (denied.value.status_code, denied.value.error_msg) == (
        401,
        {"error": "Unauthorized/Invalid api key"},
    )
