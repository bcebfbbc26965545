"""Rows of /data/trades as trades of our orders."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidMessage
from shared.messages.orders import TradeStatus
from shared.polymarket.trades import VenueTrade, named_orders, parse_trade
from tests.builders import ORDER_HASH, TOKEN, TRANSACTION, shares, usdc
from tests.unit.polymarket.recorded import load_recorded

RATE = Decimal("0.04")
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["NaN", "Infinity", "1e999999999", "-1", "9" * 40]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["price", "matched_amount", "asset_id"]), inner)
    ),
    max_leaves=6,
)


def a_maker(amount: str, price: str, *, asset_id: str = TOKEN) -> dict[str, Any]:
    return {
        "asset_id": asset_id,
        "matched_amount": amount,
        "price": price,
        "order_id": "0xmaker",
        "side": "SELL",
    }


def a_row(*makers: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    row = {
        "id": "trade-1",
        "taker_order_id": ORDER_HASH,
        "asset_id": TOKEN,
        "side": "BUY",
        "size": "10",
        "price": "0.50",
        "status": "TRADE_STATUS_MATCHED",
        "match_time": "1790272257",
        "transaction_hash": "",
        "maker_orders": list(makers),
    }
    return row | overrides


def parse(*makers: dict[str, Any], fee_rate: Decimal = Decimal(0), **overrides: Any) -> VenueTrade:
    return parse_trade(a_row(*makers, **overrides), fee_rate=fee_rate)


def test_a_trade_is_the_sum_of_what_was_taken_from_its_makers() -> None:
    trade = parse(a_maker("4", "0.50"), a_maker("6", "0.55"))

    assert (trade.shares, trade.usdc, trade.price) == (shares(10), usdc("5.3"), Decimal("0.53"))


def test_a_maker_on_the_other_outcome_is_matched_at_one_minus_its_price() -> None:
    trade = parse(a_maker("10", "0.45", asset_id="2"))

    assert (trade.shares, trade.usdc, trade.price) == (shares(10), usdc("5.5"), Decimal("0.55"))


def test_a_row_without_makers_uses_its_own_size_and_price() -> None:
    assert (parse().shares, parse().usdc) == (shares(10), usdc(5))


def test_the_fee_of_each_match_is_rounded_to_five_decimals() -> None:
    trade = parse(a_maker("4", "0.50"), a_maker("0.333", "0.55"), fee_rate=RATE)

    assert trade.fee_usdc == usdc("0.04") + usdc("0.00330")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("MATCHED", TradeStatus.MATCHED),
        ("TRADE_STATUS_MATCHED", TradeStatus.MATCHED),
        ("MATCHED_NOT_BROADCASTED", TradeStatus.MATCHED),
        ("TRADE_STATUS_MATCHED_NOT_BROADCASTED", TradeStatus.MATCHED),
        ("TRADE_STATUS_MINED", TradeStatus.MINED),
        ("CONFIRMED", TradeStatus.CONFIRMED),
        ("TRADE_STATUS_RETRYING", TradeStatus.RETRYING),
        ("FAILED", TradeStatus.FAILED),
    ],
)
def test_statuses_of_rest_and_socket_are_the_same(text: str, status: TradeStatus) -> None:
    assert parse(status=text).status is status


@pytest.mark.parametrize(
    "text",
    [
        "1790272257",
        "1790272257999",
        "2026-09-24T17:50:57Z",
        "2026-09-24T17:50:57+00:00",
        "2026-09-24T17:50:57",
    ],
)
def test_a_match_time_is_parsed_from_every_notation_and_has_a_zone(text: str) -> None:
    assert parse(match_time=text).matched_at == datetime(2026, 9, 24, 17, 50, 57, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"taker_order_id": "0xA"}, ["0xa"]),
        ({"taker_order_id": "0xa", "maker_orders": 7}, ["0xa"]),
        ({"taker_order_id": None, "maker_orders": [7, {"order_id": "0xb"}]}, ["0xb"]),
        (a_row(a_maker("1", "0.5"), taker_order_id="0xa"), ["0xa", "0xmaker"]),
        ({"taker_order_id": "", "maker_orders": [{"order_id": 7}]}, []),
        ({}, []),
    ],
    ids=str,
)
def test_a_row_names_its_taker_and_its_makers_however_unreadable_it_is(
    row: dict[str, Any], named: list[str]
) -> None:
    assert sorted(named_orders(row)) == named


def test_hashes_are_in_lower_case() -> None:
    trade = parse(taker_order_id=ORDER_HASH.upper(), transaction_hash=TRANSACTION.upper())

    assert (trade.order_hash, trade.transaction_hash) == (ORDER_HASH, TRANSACTION)


def test_recorded_trades_are_parsed() -> None:
    one, (other,) = (
        load_recorded("http_trade_report.json"),
        load_recorded("http_trades_page.json")["data"],
    )

    assert parse_trade(one, fee_rate=RATE).status is TradeStatus.CONFIRMED
    assert (parse_trade(other, fee_rate=RATE).shares, parse_trade(other, fee_rate=RATE).usdc) == (
        shares(10),
        usdc(5),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None},
        {"taker_order_id": None},
        {"status": "DONE"},
        {"size": "0"},
        {"size": "-1"},
        {"size": "NaN"},
        {"size": "Infinity"},
        {"size": "1e999999999"},
        {"size": None},
        {"price": "1.5"},
        {"price": "-0.5"},
        {"price": "cheap"},
        {"maker_orders": 7},
        {"maker_orders": [7]},
        {"maker_orders": [{}]},
        {"maker_orders": [a_maker("NaN", "0.5")]},
        {"match_time": "noon"},
        {"match_time": "9" * 30},
        {"match_time": "²"},
        {"match_time": None},
    ],
    ids=str,
)
def test_a_row_that_is_not_a_trade_is_an_invalid_message(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        parse(**wrong)


@given(overrides=st.dictionaries(st.sampled_from(sorted(a_row())), JSON_VALUES, max_size=3))
def test_no_row_raises_anything_but_invalid_message(overrides: dict[str, Any]) -> None:
    try:
        trade = parse(**overrides)
    except InvalidMessage:
        return
    assert trade.shares > 0
    assert 0 <= trade.usdc <= trade.shares
