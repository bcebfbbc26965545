"""The paper venue's frames and replies have the keys, types and formats of the recorded ones.

A test's docstring names each difference and its reason.
"""

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from services.paper_venue.exchange.book import LevelChange, RestingOrder
from services.paper_venue.exchange.matching import match
from services.paper_venue.exchange.orders import OrderKind, Side
from services.paper_venue.exchange.rules import FOK_KILLED
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.http import payloads, socket_events
from tests.unit.paper_venue.builders import MARKET, NO, SHARE, an_engine, an_order
from tests.unit.polymarket.recorded import load_recorded

NOW_MS = 1_790_272_257_115
OWNER = "00000000-0000-0000-0000-000000000001"
HASH = "0x94cfdfa3bd63a11cf2fd697932ee615b6bcfb36f7ee65da9762012e88b6c5bca"
WALLET_A, WALLET_B = (
    "0xf5848342fc388908f2D25a9012Cc18a0Ad193979",
    "0x09beD1976600971Fd9f9Db454a9c302C7A559c32",
)


def load_events(event_type: str) -> list[Any]:
    return [
        frame
        for frame in load_recorded("clob_market_channel.json")
        if frame["event_type"] == event_type
    ]


def as_received(frame: Any) -> Any:
    """As a client parses it."""
    return json.loads(orjson.dumps(frame), parse_float=Decimal)


FORMATS = (
    ("empty text", r""),
    ("hash or address", r"0x[0-9a-fA-F]+"),
    ("sha-1", r"[0-9a-f]{40}"),
    ("amount", r"\d+(\.\d+)?"),
    ("key", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
)


def shape(value: Any) -> Any:
    """The value with each scalar replaced by its format; all elements of a list have one format."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, str):
        return next((name for name, pattern in FORMATS if re.fullmatch(pattern, value)), "text")
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number"


def a_trade() -> Trade:
    """A BUY of YES that mints with a BUY of NO, and takes a SELL of YES."""
    engine = an_engine(
        an_order(Side.BUY, token=NO, price=5_000, shares=10 * SHARE, maker="0xB"),
        an_order(Side.SELL, price=5_100, maker="0xC"),
    )
    matched = match(
        an_order(Side.BUY, price=5_100, shares=50 * SHARE), engine.books[MARKET.condition_id]
    )
    makers = [
        replace(fill, maker=replace(fill.maker, maker=WALLET_B, owner=OWNER, id=HASH))
        for fill in matched.fills
    ]
    matched = replace(
        matched,
        taker=replace(matched.taker, maker=WALLET_A, owner=OWNER, id=HASH),
        fills=tuple(makers),
    )
    return Trade(
        id="412f33c2-cdc2-5048-9df6-7b014dee2515",
        match=matched,
        fee=matched.fee,
        transaction_hash=HASH,
        matched_at_ms=NOW_MS,
        updated_at_ms=NOW_MS,
    )


def an_envelope(payload: Any) -> Any:
    return {
        "connection_id": "AAAAAAAAAAAAAAAB",
        "payload": payload,
        "timestamp": NOW_MS,
        "topic": "activity",
        "type": "trades",
    }


def test_activity_rows_have_the_recorded_shape() -> None:
    """Text may be empty where the recorded one is not: paper wallets have no names, paper markets
    no icons.
    """
    nameless = {
        "name": "empty text",
        "pseudonym": "empty text",
        "icon": "empty text",
        "bio": "empty text",
        "profileImage": "empty text",
    }
    for recorded in load_recorded("rtds_activity_trades.json"):
        taker, maker, *_ = socket_events.activity_rows(a_trade())
        ours = as_received(an_envelope(taker if "fee" in recorded["payload"] else maker))

        assert shape(ours) | {"payload": shape(ours["payload"]) | nameless} == shape(recorded) | {
            "payload": shape(recorded["payload"]) | nameless
        }


def test_a_book_event_has_the_recorded_shape() -> None:
    engine = an_engine(an_order(Side.BUY, price=4_000), an_order(Side.SELL, price=5_000))
    book = engine.books[MARKET.condition_id]
    ours = as_received(
        socket_events.book_event(
            payloads.book_summary(MARKET, 0, book, last_price="0.39", now_ms=NOW_MS)
        )
    )

    for recorded in load_events("book"):
        assert shape(ours) == shape(recorded)


def test_a_price_change_has_the_recorded_shape() -> None:
    engine = an_engine(an_order(Side.BUY, price=4_000), an_order(Side.SELL, price=5_000))
    change = LevelChange(is_bid=True, yes_price=4_000, shares=90 * SHARE)
    ours = as_received(
        socket_events.price_change_event(
            MARKET, [change], engine.books[MARKET.condition_id], now_ms=NOW_MS
        )
    )

    for recorded in load_events("price_change"):
        assert shape(ours) == shape(recorded)
        assert [entry["side"] for entry in ours["price_changes"]] == [
            entry["side"] for entry in recorded["price_changes"]
        ]


def test_a_last_trade_price_has_the_recorded_shape() -> None:
    ours = as_received(socket_events.last_trade_events(a_trade())[0])

    for recorded in load_events("last_trade_price"):
        assert shape(ours) == shape(recorded)


def test_a_killed_order_has_the_recorded_shape_and_status() -> None:
    order = replace(an_order(Side.BUY, kind=OrderKind.FOK), owner=OWNER, maker=WALLET_A)
    ours = as_received(socket_events.killed_event(order, reason=FOK_KILLED, now_ms=NOW_MS))
    recorded = load_recorded("ws_user_order_fok_killed.json")

    assert shape(ours | {"id": HASH}) == shape(recorded | {"id": HASH})
    assert ours["status"] == recorded["status"]


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("ws_user_order_placement", "PLACEMENT", "LIVE"),
        ("ws_user_order_matched", "UPDATE", "MATCHED"),
        ("ws_user_order_cancellation", "CANCELLATION", "CANCELED"),
        ("ws_user_order_venue_cancel", "CANCELLATION", "INVALID"),
    ],
)
def test_an_order_event_has_the_recorded_keys(name: str, kind: str, status: str) -> None:
    """Except: `event_type` is on the live socket and not in this fixture; no trades are [] and not
    null; no expiration is "0".
    """
    order = replace(an_order(Side.BUY), owner=OWNER, maker=WALLET_A)
    ours = as_received(
        socket_events.order_event(
            order, kind=kind, status=status, matched=0, trade_ids=(), now_ms=NOW_MS
        )
    )
    recorded = load_recorded(f"{name}.json")
    differing = {"associate_trades", "expiration", "event_type"}

    assert set(ours) - set(recorded) == {"event_type"}
    assert set(recorded) <= set(ours)
    assert without_keys(shape(ours), differing) == without_keys(shape(recorded), differing)
    assert (ours["type"], ours["status"]) == (recorded["type"], recorded["status"])


def test_a_trade_event_has_the_recorded_keys() -> None:
    """Except: times are seconds, as the official client needs; the hash, `event_type` and a maker's
    `side` are live, not recorded.
    """
    ours = as_received(socket_events.trade_event(a_trade(), owner=OWNER, now_ms=NOW_MS))
    recorded = load_recorded("ws_user_trade.json")

    assert set(ours) - set(recorded) == {"event_type", "transaction_hash"}
    assert set(recorded) <= set(ours)
    assert set(ours["maker_orders"][0]) - set(recorded["maker_orders"][0]) == {"side"}
    differing = {
        "id",
        "match_time",
        "last_update",
        "event_type",
        "transaction_hash",
        "maker_orders",
    }
    assert without_keys(shape(ours), differing) == without_keys(shape(recorded), differing)


def test_a_trade_row_has_the_recorded_keys() -> None:
    """Except: times are seconds, and the status has the prefix that REST has used since."""
    ours = as_received(payloads.trade_row(a_trade(), owner=OWNER))
    recorded = load_recorded("http_trade_report.json")

    assert set(ours) == set(recorded)
    assert set(ours["maker_orders"][0]) == set(recorded["maker_orders"][0])
    differing = {"id", "match_time", "last_update", "maker_orders"}
    assert without_keys(shape(ours), differing) == without_keys(shape(recorded), differing)


def test_an_open_order_has_the_recorded_keys() -> None:
    order = replace(an_order(Side.BUY), owner=OWNER, maker=WALLET_A)
    ours = as_received(
        payloads.open_order(
            RestingOrder(order=order, remaining=order.shares), trade_ids=("0xabc001",)
        )
    )
    recorded = load_recorded("http_open_order.json")

    assert without_keys(shape(ours), {"expiration"}) == without_keys(
        shape(recorded), {"expiration"}
    )


def test_a_book_over_http_has_all_recorded_keys() -> None:
    """It has more than the recorded one: fields that the official client has required since."""
    engine = an_engine(an_order(Side.BUY, price=4_000), an_order(Side.SELL, price=5_000))
    ours = as_received(
        payloads.book_summary(
            MARKET, 0, engine.books[MARKET.condition_id], last_price="0.5", now_ms=NOW_MS
        )
    )
    recorded = load_recorded("clob_book_response.json")

    assert set(ours) - set(recorded) == {
        "min_order_size",
        "tick_size",
        "neg_risk",
        "last_trade_price",
    }
    assert {key: shape(ours)[key] for key in recorded if key != "hash"} == without_keys(
        shape(recorded), {"hash"}
    )


def without_keys(described: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in keys}
