"""Every recorded payload of the real venue has the same keys, types and formats as the paper
venue's payload of the same kind.

``EXPECTED_DIFFERENCES`` lists what differs, each with its reason. A difference that is not listed
fails, and so does a listed one that no longer exists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.testing.waiting import eventually
from tests.integration.paper_venue.rest import SHARE, USDC, RestClient, rest_client
from tests.integration.paper_venue.shapes import differences
from tests.integration.paper_venue.test_sockets import (
    SocketListener,
    activity_subscription,
    connect_listener,
)
from tests.integration.paper_venue.venue import PaperVenue
from tools.stack.background import BackgroundLoop

pytestmark = pytest.mark.integration

PAYLOADS = Path(__file__).parents[2] / "payloads" / "venue"
EDITED = "the adapter's authors edited this value, so it is not in the venue's format"
SHORTENED = "the adapter's authors omitted what they do not read; the official client requires it"
LATER = (
    "the field was added after this payload was recorded: the recordings of 2026-09, the "
    "documentation or the official client have it"
)
NULLS = "later payloads of the same kind have this instead of null"
SECONDS = (
    "the channel's documentation says epoch seconds, and the official client drops other events"
)
SAME_FORMAT = "the same format: a number of base units that looks like another kind of number"
NO_ORACLE = "set by UMA's oracle; markets here are resolved by the control endpoint"
OTHER_MARKET = "an optional field, which Gamma has for some markets and not for others"

EXPECTED_DIFFERENCES: dict[str, dict[str, str]] = {
    "clob_book_response": {
        "asset_id: decimal, ours token id": EDITED,
        "hash: text, ours sha1": EDITED,
        "last_trade_price: added": LATER,
        "min_order_size: added": LATER,
        "neg_risk: added": LATER,
        "tick_size: added": LATER,
    },
    "gamma_market": {
        "feeType: text, ours null": "only crypto markets have a fee type; none here is one",
        "version: added": LATER,
    },
    "gamma_market_closed_binary_accepting_false": {
        "bestAsk: missing": "our resolved market has no orders left; the recorded one had",
        "closedTime: missing": OTHER_MARKET,
        "competitive: added": OTHER_MARKET,
        "customLiveness: missing": NO_ORACLE,
        "deployingTimestamp: missing": OTHER_MARKET,
        "eventStartTime: added": OTHER_MARKET,
        "events: added": OTHER_MARKET,
        "groupItemTitle: missing": OTHER_MARKET,
        "makerBaseFee: added": OTHER_MARKET,
        "makerRebatesFeeShareBps: added": OTHER_MARKET,
        "negRiskRequestID: missing": NO_ORACLE,
        "resolvedBy: missing": NO_ORACLE,
        "seriesColor: missing": OTHER_MARKET,
        "submitted_by: missing": NO_ORACLE,
        "takerBaseFee: added": OTHER_MARKET,
        "umaBond: missing": NO_ORACLE,
        "umaEndDate: missing": NO_ORACLE,
        "umaReward: missing": NO_ORACLE,
        "version: added": LATER,
    },
    "http_balance_allowance_collateral": {
        "allowance: decimal, ours token id": SAME_FORMAT,
        "allowances: added": LATER,
        "balance: epoch seconds, ours decimal": SAME_FORMAT,
    },
    "http_open_order": {
        "expiration: null, ours decimal": NULLS,
        "id: text, ours 32 bytes": EDITED,
    },
    "http_order_response_failed": {
        "makingAmount: added": SHORTENED,
        "orderID: null, ours empty": SHORTENED,
        "status: added": SHORTENED,
        "takingAmount: added": SHORTENED,
        "tradeIDs: added": SHORTENED,
    },
    "http_order_response_ok": {
        "errorMsg: null, ours empty": (
            "the official client rejects null here, so the venue cannot send it"
        ),
        "makingAmount: added": SHORTENED,
        "orderID: text, ours 32 bytes": EDITED,
        "status: added": SHORTENED,
        "takingAmount: added": SHORTENED,
        "tradeIDs: added": SHORTENED,
    },
    "http_trade_report": {
        "id: text, ours uuid": EDITED,
        "last_update: iso time, ours epoch seconds": SECONDS,
        "maker_orders[].order_id: text, ours 32 bytes": EDITED,
        "match_time: iso time, ours epoch seconds": SECONDS,
        "taker_order_id: text, ours 32 bytes": EDITED,
        "transaction_hash: text, ours 32 bytes": EDITED,
    },
    "http_trades_page": {
        "count: added": LATER,
        "data[].id: text, ours uuid": EDITED,
        "data[].last_update: iso time, ours epoch seconds": SECONDS,
        "data[].match_time: iso time, ours epoch seconds": SECONDS,
        "data[].taker_order_id: text, ours 32 bytes": EDITED,
        "data[].transaction_hash: text, ours 32 bytes": EDITED,
        "limit: added": LATER,
    },
    "ws_market_book_msg": {
        "hash: added": LATER,
        "last_trade_price: added": LATER,
        "tick_size: added": LATER,
    },
    "ws_market_last_trade_msg": {
        "transaction_hash: added": LATER,
    },
    "ws_market_price_change_msg": {
        "price_changes[].hash: text, ours sha1": EDITED,
    },
    "ws_user_order_cancellation": {
        "associate_trades: null, ours list": NULLS,
        "created_at: epoch milliseconds, ours epoch seconds": SECONDS,
        "event_type: added": LATER,
        "expiration: null, ours decimal": NULLS,
        "id: text, ours 32 bytes": EDITED,
    },
    "ws_user_order_fok_killed": {
        "asset_id: decimal, ours token id": EDITED,
        "id: text, ours 32 bytes": EDITED,
        "market: text, ours 32 bytes": EDITED,
    },
    "ws_user_order_matched": {
        "associate_trades[]: text, ours uuid": EDITED,
        "created_at: epoch milliseconds, ours epoch seconds": SECONDS,
        "event_type: added": LATER,
        "expiration: null, ours decimal": NULLS,
        "id: text, ours 32 bytes": EDITED,
    },
    "ws_user_order_placement": {
        "associate_trades: null, ours list": NULLS,
        "created_at: epoch milliseconds, ours epoch seconds": SECONDS,
        "event_type: added": LATER,
        "expiration: null, ours decimal": NULLS,
        "id: text, ours 32 bytes": EDITED,
    },
    "ws_user_order_venue_cancel": {
        "created_at: epoch milliseconds, ours epoch seconds": SECONDS,
        "event_type: added": LATER,
        "id: text, ours 32 bytes": EDITED,
        "market: text, ours 32 bytes": EDITED,
    },
    "ws_user_trade": {
        "event_type: added": LATER,
        "id: text, ours uuid": EDITED,
        "last_update: iso time, ours epoch seconds": SECONDS,
        "maker_orders[].order_id: text, ours 32 bytes": EDITED,
        "maker_orders[].side: added": LATER,
        "match_time: iso time, ours epoch seconds": SECONDS,
        "taker_order_id: text, ours 32 bytes": EDITED,
        "transaction_hash: added": LATER,
    },
}
NOT_SENT = {
    "ws_market_new_market_msg": "every market is listed before the venue answers for the first time"
}


def recorded(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def recorded_cases() -> dict[str, Any]:
    """Each recorded payload by its file's name; frames of a recording by file, kind and number."""
    single = (
        path.stem
        for path in sorted(PAYLOADS.glob("*.json"))
        if path.stem not in ("rtds_activity_trades", "clob_market_channel")
    )
    cases = {name: recorded(name) for name in single}
    for index, frame in enumerate(recorded("rtds_activity_trades")):
        cases[
            f"rtds_activity_trades {'taker' if 'fee' in frame['payload'] else 'maker'} {index}"
        ] = frame
    for index, frame in enumerate(recorded("clob_market_channel")):
        cases[f"clob_market_channel {frame['event_type']} {index}"] = frame
    return cases


@pytest.fixture(scope="module")
def sent(venue: PaperVenue, background: BackgroundLoop) -> dict[str, Any]:
    """The paper venue's payloads, by the name of the recorded one (without its number)."""
    payloads: dict[str, Any] = background.call(collect_payloads(venue))
    return payloads


async def collect_payloads(venue: PaperVenue) -> dict[str, Any]:
    """Cause every recorded kind of payload, in a market that is resolved at the end."""
    market = await venue.find_market_to_resolve(takes_fee=False)
    token = market["token_ids"][0]
    subscription = {
        "type": "market",
        "assets_ids": market["token_ids"],
        "custom_feature_enabled": True,
    }
    async with rest_client(venue) as client:
        auth = {
            "apiKey": client.credentials["apiKey"],
            **{name: client.credentials[name] for name in ("secret", "passphrase")},
        }
        async with (
            connect_listener(venue.urls["market_ws"], subscription) as public,
            connect_listener(venue.urls["user_ws"], {"auth": auth, "type": "user"}) as own,
            connect_listener(venue.urls["rtds"], activity_subscription("trades")) as rtds,
        ):
            await eventually(lambda: public.of_type("book"))
            await own.socket.send_str("PING")
            await eventually(lambda: own.texts)
            replies = await place_and_cancel(client, token)
            await eventually(
                lambda: [event for event in own.of_type("trade") if event["status"] == "CONFIRMED"]
            )
            replies |= await fetch_payloads(client, market, token)
            await venue.control("tick", {"condition_id": market["condition_id"], "tick": "0.001"})
            await eventually(lambda: public.of_type("tick_size_change"))
            await venue.control(
                "resolve", {"condition_id": market["condition_id"], "outcome": "yes"}
            )
            await eventually(lambda: public.of_type("market_resolved"))
            closed = await fetch_json(
                client,
                venue.urls["gamma"]
                + f"/markets?closed=true&condition_ids={market['condition_id']}",
            )
            return (
                replies
                | {"gamma_market_closed_binary_accepting_false": closed[0]}
                | received_events(public, own, rtds)
            )


async def place_and_cancel(client: RestClient, token: str) -> dict[str, Any]:
    resting = await client.send(
        "POST", "/order", client.order(token=token, gives=2 * USDC, gets=100 * SHARE)
    )
    await client.send("POST", "/order", client.order(token=token, gives=3 * USDC, gets=100 * SHARE))
    listed = await client.send("GET", "/data/orders")
    await client.send("DELETE", "/order", {"orderID": resting.payload["orderID"]})
    await client.send(
        "POST", "/order", client.order(token=token, kind="FOK", gives=2 * USDC, gets=100 * SHARE)
    )
    filled = await client.send(
        "POST", "/order", client.order(token=token, gives=49 * USDC, gets=50 * SHARE)
    )
    batch = await client.send(
        "POST", "/orders", [client.order(token=token, gives=4_900 * USDC, gets=5_000 * SHARE)]
    )
    await client.set_faults({"order-timed-out": {}})
    failed = await client.send("POST", "/order", client.order(token=token))
    await client.clear_faults()
    return {
        "http_open_order": next(
            row for row in listed.payload["data"] if row["id"] == resting.payload["orderID"]
        ),
        "http_order_response_ok": filled.payload,
        "http_order_response_failed": batch.payload[0],
        "http_order_response_error_500": failed.payload,
    }


async def fetch_payloads(client: RestClient, market: dict[str, Any], token: str) -> dict[str, Any]:
    trades = await client.send("GET", "/data/trades")
    return {
        "http_trades_page": trades.payload,
        "http_trade_report": trades.payload["data"][0],
        "http_balance_allowance_collateral": (
            await client.send("GET", "/balance-allowance?asset_type=COLLATERAL")
        ).payload,
        "clob_book_response": (
            await client.send("GET", f"/book?token_id={token}", sign=False)
        ).payload,
        "gamma_market": await fetch_json(
            client, client.venue.urls["gamma"] + f"/markets/slug/{market['slug']}"
        ),
    }


async def fetch_json(client: RestClient, url: str) -> Any:
    async with client.http.get(url) as response:
        return await response.json()


def received_events(
    public: SocketListener, own: SocketListener, rtds: SocketListener
) -> dict[str, Any]:
    orders, rows = own.of_type("order"), rtds.of_type("trades")
    channel = {
        f"clob_market_channel {kind}": public.of_type(kind)[-1]
        for kind in ("book", "price_change", "last_trade_price")
    }
    return channel | {
        "rtds_activity_trades taker": next(row for row in rows if "fee" in row["payload"]),
        "rtds_activity_trades maker": next(row for row in rows if "fee" not in row["payload"]),
        "ws_market_book_msg": public.of_type("book")[-1],
        "ws_market_price_change_msg": public.of_type("price_change")[-1],
        "ws_market_last_trade_msg": public.of_type("last_trade_price")[-1],
        "ws_market_best_bid_ask_msg": public.of_type("best_bid_ask")[-1],
        "ws_market_tick_size_msg": public.of_type("tick_size_change")[-1],
        "ws_market_resolved_msg": public.of_type("market_resolved")[-1],
        "ws_user_order_placement": next(order for order in orders if order["type"] == "PLACEMENT"),
        "ws_user_order_cancellation": next(
            order for order in orders if order["status"] == "CANCELED"
        ),
        "ws_user_order_fok_killed": next(order for order in orders if order["order_type"] == "FOK"),
        "ws_user_order_matched": next(order for order in orders if order["status"] == "MATCHED"),
        "ws_user_order_venue_cancel": next(
            order for order in orders if order["status"].startswith("CANCELED_MARKET")
        ),
        "ws_user_trade": own.of_type("trade")[-1],
    }


def case_kind(name: str) -> str:
    """A case's name without the number of its frame."""
    return name.rstrip(" 0123456789") if " " in name else name


@pytest.mark.parametrize("name", [name for name in recorded_cases() if name not in NOT_SENT])
def test_a_recorded_payload_has_the_shape_of_ours(sent: dict[str, Any], name: str) -> None:
    assert (
        differences(recorded_cases()[name], sent[case_kind(name)])
        == EXPECTED_DIFFERENCES.get(case_kind(name), {}).keys()
    )


def test_the_lists_of_unsent_and_differing_payloads_are_up_to_date(
    sent: dict[str, Any],
) -> None:
    assert sent.keys() == {case_kind(name) for name in recorded_cases()} - NOT_SENT.keys()
    assert sent.keys() >= EXPECTED_DIFFERENCES.keys()
