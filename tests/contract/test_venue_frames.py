"""What the paper venue sends has the shape of what the real one sent: the same keys, types and
formats, or a reason.
"""

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from services.paper_venue.exchange.book import LevelChange, Resting
from services.paper_venue.exchange.matching import match
from services.paper_venue.exchange.orders import OrderKind, Side
from services.paper_venue.exchange.rules import FOK_KILLED
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.http import payloads
from tests.unit.paper_venue.builders import MARKET, NO, SHARE, an_engine, an_order
from tests.unit.polymarket.recorded import load_recorded

NOW_MS = 1_790_272_257_115
OWNER = "00000000-0000-0000-0000-000000000001"
HASH = "0x94cfdfa3bd63a11cf2fd697932ee615b6bcfb36f7ee65da9762012e88b6c5bca"
WALLET_A, WALLET_B = (
    "0xf5848342fc388908f2D25a9012Cc18a0Ad193979",
    "0x09beD1976600971Fd9f9Db454a9c302C7A559c32",
)


def of_type(event_type: str) -> list[Any]:
    return [
        frame
        for frame in load_recorded("clob_market_channel.json")
        if frame["event_type"] == event_type
    ]


def sent(frame: Any) -> Any:
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
    """A value with what it says replaced by how it is written. All elements of a list are written
    alike.
    """
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


def test_activity_rows_are_the_recorded_ones() -> None:
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
    for real in load_recorded("rtds_activity_trades.json"):
        taker, maker, *_ = payloads.activity_rows(a_trade())
        ours = sent(an_envelope(taker if "fee" in real["payload"] else maker))

        assert shape(ours) | {"payload": shape(ours["payload"]) | nameless} == shape(real) | {
            "payload": shape(real["payload"]) | nameless
        }


def test_a_book_is_the_recorded_one() -> None:
    engine = an_engine(an_order(Side.BUY, price=4_000), an_order(Side.SELL, price=5_000))
    book = engine.books[MARKET.condition_id]
    ours = sent(
        payloads.book_event(
            payloads.book_summary(MARKET, 0, book, last_price="0.39", now_ms=NOW_MS)
        )
    )

    for real in of_type("book"):
        assert shape(ours) == shape(real)


def test_a_price_change_is_the_recorded_one() -> None:
    engine = an_engine(an_order(Side.BUY, price=4_000), an_order(Side.SELL, price=5_000))
    change = LevelChange(is_bid=True, yes_price=4_000, shares=90 * SHARE)
    ours = sent(
        payloads.price_change_event(
            MARKET, [change], engine.books[MARKET.condition_id], now_ms=NOW_MS
        )
    )

    for real in of_type("price_change"):
        assert shape(ours) == shape(real)
        assert [entry["side"] for entry in ours["price_changes"]] == [
            entry["side"] for entry in real["price_changes"]
        ]


def test_a_print_is_the_recorded_one() -> None:
    ours = sent(payloads.last_trade_events(a_trade())[0])

    for real in of_type("last_trade_price"):
        assert shape(ours) == shape(real)


def test_a_killed_order_is_told_as_recorded() -> None:
    order = replace(an_order(Side.BUY, kind=OrderKind.FOK), owner=OWNER, maker=WALLET_A)
    ours = sent(payloads.killed_event(order, reason=FOK_KILLED, now_ms=NOW_MS))
    real = load_recorded("ws_user_order_fok_killed.json")

    assert shape(ours | {"id": HASH}) == shape(real | {"id": HASH})
    assert ours["status"] == real["status"]


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
    """Except: `event_type` stands on the live socket and not in this fixture; no trades are [] and
    not null, no expiration "0".
    """
    order = replace(an_order(Side.BUY), owner=OWNER, maker=WALLET_A)
    ours = sent(
        payloads.order_event(
            order, kind=kind, status=status, matched=0, trade_ids=(), now_ms=NOW_MS
        )
    )
    real = load_recorded(f"{name}.json")
    differing = {"associate_trades", "expiration", "event_type"}

    assert set(ours) - set(real) == {"event_type"}
    assert set(real) <= set(ours)
    assert without(shape(ours), differing) == without(shape(real), differing)
    assert (ours["type"], ours["status"]) == (real["type"], real["status"])


def test_a_trade_event_has_the_recorded_keys() -> None:
    """Except: times are seconds, as the official client needs; the hash, `event_type` and a maker's
    `side` are live, not recorded.
    """
    ours = sent(payloads.trade_event(a_trade(), owner=OWNER, now_ms=NOW_MS))
    real = load_recorded("ws_user_trade.json")

    assert set(ours) - set(real) == {"event_type", "transaction_hash"}
    assert set(real) <= set(ours)
    assert set(ours["maker_orders"][0]) - set(real["maker_orders"][0]) == {"side"}
    differing = {
        "id",
        "match_time",
        "last_update",
        "event_type",
        "transaction_hash",
        "maker_orders",
    }
    assert without(shape(ours), differing) == without(shape(real), differing)


def test_a_trade_row_has_the_recorded_keys() -> None:
    """Except: times are seconds, and the status carries the prefix that REST has had since."""
    ours = sent(payloads.trade_row(a_trade(), owner=OWNER))
    real = load_recorded("http_trade_report.json")

    assert set(ours) == set(real)
    assert set(ours["maker_orders"][0]) == set(real["maker_orders"][0])
    differing = {"id", "match_time", "last_update", "maker_orders"}
    assert without(shape(ours), differing) == without(shape(real), differing)


def test_an_open_order_has_the_recorded_keys() -> None:
    order = replace(an_order(Side.BUY), owner=OWNER, maker=WALLET_A)
    ours = sent(
        payloads.open_order(Resting(order=order, remaining=order.shares), trade_ids=("0xabc001",))
    )
    real = load_recorded("http_open_order.json")

    assert without(shape(ours), {"expiration"}) == without(shape(real), {"expiration"})


def test_a_book_over_http_has_all_that_was_recorded() -> None:
    """More than the recorded one: the fields that the official client has demanded since."""
    engine = an_engine(an_order(Side.BUY, price=4_000), an_order(Side.SELL, price=5_000))
    ours = sent(
        payloads.book_summary(
            MARKET, 0, engine.books[MARKET.condition_id], last_price="0.5", now_ms=NOW_MS
        )
    )
    real = load_recorded("clob_book_response.json")

    assert set(ours) - set(real) == {"min_order_size", "tick_size", "neg_risk", "last_trade_price"}
    assert {key: shape(ours)[key] for key in real if key != "hash"} == without(
        shape(real), {"hash"}
    )


def without(described: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in keys}
