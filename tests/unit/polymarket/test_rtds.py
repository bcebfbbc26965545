"""Frames of the activity feed: recorded ones, odd ones that were observed, and arbitrary ones."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidMessage
from shared.domain.money import Side
from shared.messages.leader_fills import FillSource, LeaderFillSeen
from shared.polymarket import rtds
from tests.builders import LEADER, NOON, TOKEN, TRANSACTION, shares
from tests.unit.polymarket.recorded import load_recorded

ROW = {
    "asset": TOKEN,
    "conditionId": "0x" + "c0" * 32,
    "outcome": "Yes",
    "outcomeIndex": 0,
    "price": 0.52,
    "proxyWallet": LEADER,
    "side": "BUY",
    "size": 16.26,
    "timestamp": 1790272257,
    "title": "Will it rain?",
    "transactionHash": TRANSACTION,
}
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1e999999999", "-1e30", "\ud800", "\x00"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def a_row(**overrides: Any) -> dict[str, Any]:
    return ROW | overrides


def an_envelope(row: Any, *, kind: str = "trades") -> dict[str, Any]:
    return {
        "connection_id": "c",
        "payload": row,
        "timestamp": 1790272257115,
        "topic": "activity",
        "type": kind,
    }


def parse_fills(frame: str) -> list[LeaderFillSeen]:
    return [
        rtds.parse_fill(row, seen_at=NOON)
        for envelope in rtds.parse_envelopes(frame)
        for row in rtds.parse_rows(envelope)
    ]


def parse_one_fill(**overrides: Any) -> LeaderFillSeen:
    (fill,) = parse_fills(json.dumps(an_envelope(a_row(**overrides))))
    return fill


def test_every_recorded_frame_is_parsed_as_a_fill_of_its_wallet() -> None:
    for envelope in load_recorded("rtds_activity_trades.json"):
        (fill,) = parse_fills(json.dumps(envelope))
        row = envelope["payload"]

        assert fill.leader == row["proxyWallet"]
        assert fill.transaction_hash == row["transactionHash"]
        assert fill.token_id == row["asset"]
        assert fill.side is Side(row["side"])
        assert fill.price == Decimal(str(row["price"]))
        assert fill.shares == shares(str(row["size"]))
        assert fill.filled_at == datetime.fromtimestamp(row["timestamp"], UTC)
        assert (fill.source, fill.occurred_at) == (FillSource.RTDS, NOON)


def test_a_taker_and_its_maker_are_two_trades_of_two_wallets() -> None:
    frames = load_recorded("rtds_activity_trades.json")

    taker, maker = (parse_fills(json.dumps(frame))[0] for frame in frames[:2])

    assert taker.transaction_hash == maker.transaction_hash
    assert taker.trade_id != maker.trade_id
    assert taker.price == 1 - maker.price


@pytest.mark.parametrize(
    "odd",
    [
        {"price": "0.52"},
        {"size": "16.26"},
        {"timestamp": "1790272257"},
        {"timestamp": 1790272257115},
        {"outcomeIndex": 999},
        {"side": "buy"},
        {"proxyWallet": LEADER.lower()},
        {"transactionHash": TRANSACTION.upper().replace("0X", "0x")},
        {"fee": 1.5309},
        {"something": ["new"]},
    ],
    ids=str,
)
def test_a_row_in_another_notation_is_the_same_fill(odd: dict[str, Any]) -> None:
    assert parse_one_fill(**odd) == parse_one_fill()


@pytest.mark.parametrize("frame", ["", "PONG", "pong"])
def test_a_keep_alive_has_no_rows(frame: str) -> None:
    assert parse_fills(frame) == []


def test_a_frame_may_be_an_array_of_envelopes() -> None:
    frame = json.dumps([an_envelope(a_row(size=1)), an_envelope(a_row(size=2))])

    assert [fill.shares for fill in parse_fills(frame)] == [shares(1), shares(2)]


@pytest.mark.parametrize("other_price", [0.74, "0.740", "0.7400000012", 0.7399999996])
def test_both_types_give_the_same_row_also_with_other_digits_of_the_price(
    other_price: object,
) -> None:
    (one,), (other,) = (
        parse_fills(json.dumps(an_envelope(a_row(price=price), kind=kind)))
        for kind, price in (("trades", 0.74), ("orders_matched", other_price))
    )

    assert (one.row_id, one.shares) == (other.row_id, other.shares)
    assert (one.row_type, other.row_type) == ("trades", "orders_matched")
    assert one.message_id != other.message_id


def test_prices_that_differ_by_a_base_unit_are_two_rows() -> None:
    assert parse_one_fill(price="0.740001").row_id != parse_one_fill(price="0.74").row_id


def test_other_topics_and_types_have_no_fills() -> None:
    assert parse_fills(json.dumps(an_envelope(ROW) | {"topic": "comments"})) == []
    assert parse_fills(json.dumps(an_envelope(ROW, kind="reaction_created"))) == []


def test_an_error_envelope_is_a_refused_subscription() -> None:
    with pytest.raises(rtds.SubscriptionRefused, match="status 400: bad subscription"):
        parse_fills(json.dumps({"statusCode": 400, "body": "bad subscription"}))


def test_fills_that_differ_in_size_price_or_side_have_different_row_ids() -> None:
    rows = [
        parse_one_fill(),
        parse_one_fill(size=16.27),
        parse_one_fill(price=0.53),
        parse_one_fill(side="SELL"),
    ]

    assert len({fill.row_id for fill in rows}) == 4


def test_digits_beyond_the_sixth_decimal_are_cut_off() -> None:
    assert parse_one_fill(size="0.1234569999").shares == 123_456


def test_a_title_keeps_its_printable_characters_up_to_a_limit() -> None:
    assert parse_one_fill(
        title="Will\x00 it\ud800 rain in Zürich? ☔" + "x" * 500
    ).title.startswith("Will it rain in Zürich? ☔xx")
    assert len(parse_one_fill(title="x" * 500).title) == 200
    assert parse_one_fill(title=None).title == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("proxyWallet", None),
        ("proxyWallet", "0x12"),
        ("proxyWallet", 7),
        ("proxyWallet", "\ud800" * 42),
        ("transactionHash", ""),
        ("transactionHash", 5),
        ("transactionHash", "0xabc"),
        ("transactionHash", "0x" + "\x1f" * 64),
        ("asset", None),
        ("asset", ""),
        ("asset", "0xff"),
        ("asset", "12\x00"),
        ("asset", "9" * 79),
        ("asset", "٣"),
        ("side", "HOLD"),
        ("side", None),
        ("side", 1),
        ("price", 0),
        ("price", 1),
        ("price", -0.5),
        ("price", "NaN"),
        ("price", True),
        ("price", "1e-999999"),
        ("price", [0.5]),
        ("size", 0),
        ("size", -1),
        ("size", "-1e30"),
        ("size", "1e30"),
        ("size", "1e999999999"),
        ("size", "0.0000001"),
        ("size", {}),
        ("timestamp", 0),
        ("timestamp", "soon"),
        ("timestamp", 1e30),
        ("timestamp", "1e999999999"),
        ("timestamp", None),
    ],
)
def test_an_invalid_row_is_refused_with_the_name_of_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidMessage, match=field):
        parse_one_fill(**{field: value})


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "nonsense",
        "[1]",
        '"text"',
        "1",
        "null",
        "1" * 5000,
        "[" * 100_000,
        '{"topic": "activity", "type": "trades"}',
        "1e99999999999999999999",
    ],
    ids=lambda frame: frame[:20],
)
def test_an_unreadable_frame_is_an_invalid_message(frame: str) -> None:
    with pytest.raises(InvalidMessage):
        parse_fills(frame)


@pytest.mark.parametrize(
    "frame", ["{}", '{"topic": "activity"}', '{"type": "trades", "payload": {}}']
)
def test_an_envelope_without_topic_or_type_is_not_ignored(frame: str) -> None:
    with pytest.raises(rtds.UnknownEnvelope):
        parse_fills(frame)


@given(frame=st.text() | JSON_VALUES.map(json.dumps))
def test_no_frame_raises_anything_but_the_declared_errors(frame: str) -> None:
    try:
        parse_fills(frame)
    except (InvalidMessage, rtds.SubscriptionRefused, rtds.UnknownEnvelope):
        return


@given(overrides=st.dictionaries(st.sampled_from(sorted(ROW)), JSON_VALUES, max_size=3))
def test_no_row_raises_anything_but_invalid_message(overrides: dict[str, Any]) -> None:
    try:
        fill = parse_one_fill(**overrides)
    except InvalidMessage:
        return
    assert LeaderFillSeen.model_validate_json(fill.model_dump_json()) == fill
