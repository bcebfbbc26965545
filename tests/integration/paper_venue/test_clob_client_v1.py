"""py-clob-client 0.34.6 is archived: unmodified, it still reads, has keys and cancels, and its
orders are refused as at the venue.
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
        found = ClobClient(
            venue.urls["clob"],
            key=account["private_key"],
            chain_id=137,
            signature_type=SIGNATURE_TYPES[request.param],
            funder=account["proxy"],
        )
        found.set_api_creds(found.create_or_derive_api_creds())
        return found

    return await asyncio.to_thread(connect)


async def test_its_orders_are_refused_in_the_venues_words(venue: PaperVenue, client: Any) -> None:
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

    told = await asyncio.to_thread(read)

    book = told["book"]
    assert told["ok"] == "OK"
    assert told["time"] > 1_700_000_000
    assert [found.asset_id for found in told["books"]] == [token, other]
    assert told["price"] == {"price": book.bids[-1].price}
    assert told["prices"].keys() == told["mids"].keys() == told["spreads"].keys() == {token, other}
    assert told["prices"][token] == {"BUY": book.bids[-1].price}
    assert told["mids"][token] == told["mid"]["mid"]
    assert told["spreads"][token] == told["spread"]["spread"]
    assert (told["tick"], told["neg_risk"], told["fee"]) == (book.tick_size, book.neg_risk, 0)
    known = {market["condition_id"] for market in venue.world["markets"]}
    standing = {
        market["condition_id"] for market in told["markets"]["data"] if not market["closed"]
    }
    for name, expected in {
        "markets": known,
        "simplified": known,
        "sampling": standing,
        "simplified_sampling": standing,
    }.items():
        assert {market["condition_id"] for market in told[name]["data"]} == expected, name
        assert told[name]["next_cursor"] == "LTE="
    assert [found["token_id"] for found in told["market"]["tokens"]] == venue.world["markets"][0][
        "token_ids"
    ]


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

    told = await asyncio.to_thread(act)

    assert told["keys"] == {"apiKeys": [client.creds.api_key]}
    assert told["derived"] == client.creds
    assert told["closed_only"] == {"closed_only": False}
    assert told["readonly_keys"] == [told["readonly"].api_key]
    assert (told["orders"], told["trades"]) == ([], [])
    assert told["balance"]["balance"] == "1000000000"
    assert int(told["balance"]["allowance"]) > 0
    missing = {
        "canceled": [],
        "not_canceled": {"0x" + "12" * 32: "the order is already canceled or matched"},
    }
    assert (told["cancel"], told["cancel_orders"]) == (missing, missing)
    assert (
        told["cancel_all"] == told["cancel_market_orders"] == {"canceled": [], "not_canceled": {}}
    )


async def test_a_deleted_key_is_heard_no_longer(client: Any) -> None:
    await asyncio.to_thread(client.delete_api_key)

    with pytest.raises(PolyApiException) as denied:
        await asyncio.to_thread(client.get_api_keys)

    assert (denied.value.status_code, denied.value.error_msg) == (
        401,
        {"error": "Unauthorized/Invalid api key"},
    )
