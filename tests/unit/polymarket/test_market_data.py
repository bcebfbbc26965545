"""Books by value whatever the order of the levels, and no book where none is known."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidMessage
from shared.polymarket.market_data import (
    BookEvent,
    BookSnapshot,
    LevelChanged,
    LiveBook,
    TickChanged,
    parse_book,
    parse_events,
    parse_market,
)
from tests.builders import TOKEN, shares
from tests.unit.polymarket.recorded import load_recorded

BOOK = {
    "event_type": "book",
    "asset_id": TOKEN,
    "bids": [{"price": "0.48", "size": "30"}, {"price": "0.49", "size": "20"}],
    "asks": [{"price": "0.52", "size": "25"}, {"price": "0.51", "size": "60.5"}],
}
MARKET = {
    "t": [{"t": TOKEN, "o": "Yes"}, {"t": "2", "o": "No"}],
    "mts": 0.01,
    "mos": 5,
    "nr": True,
    "fd": {"r": 0.04, "e": 1},
}
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1e999999999", "0.5", "book", "price_change"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["event_type", "asset_id", "bids", "asks", "price_changes", "price", "size", "side"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


def events(*frames: Any) -> list[BookEvent]:
    return [
        event
        for frame in frames
        for event in parse_events(frame if isinstance(frame, str) else json.dumps(frame))
    ]


def a_change(**overrides: Any) -> dict[str, Any]:
    return {"asset_id": TOKEN, "price": "0.49", "size": "7", "side": "BUY"} | overrides


def changes(*given: dict[str, Any]) -> dict[str, Any]:
    return {"event_type": "price_change", "price_changes": list(given)}


def a_book(*frames: Any) -> LiveBook:
    book = LiveBook()
    for event in events(*frames):
        book.apply(event)
    return book


def prices(levels: Any) -> list[str]:
    return [str(level.price) for level in levels]


def test_recorded_books_are_best_first_though_the_venue_lists_them_worst_first() -> None:
    for frame in load_recorded("clob_market_channel.json"):
        for event in events(frame):
            if isinstance(event, BookSnapshot):
                assert event.bids[0].price == max(level.price for level in event.bids)
                assert event.asks[0].price == min(level.price for level in event.asks)
                assert event.bids[0].price < event.asks[0].price


def test_the_recorded_frames_as_one_array_make_the_books_that_their_changes_say() -> None:
    frames = load_recorded("clob_market_channel.json")
    changed = frames[1]["asset_id"]
    book = LiveBook()

    for event in events(frames):
        if event.token_id == changed:
            book.apply(event)

    at = {str(level.price): level.shares for level in book.bids()}
    assert at["0.59"] == shares("704942.22")
    assert at["0.51"] == shares(90)
    assert prices(book.bids())[0] == "0.61"
    assert prices(book.asks())[0] == "0.62"


@pytest.mark.parametrize("name", ["clob_book_response.json", "ws_market_book_msg.json"])
def test_a_recorded_book_reads_the_same_in_either_order(name: str) -> None:
    reply = load_recorded(name)
    turned = reply | {"bids": reply["bids"][::-1], "asks": reply["asks"][::-1]}

    assert parse_book(reply) == parse_book(turned)
    assert prices(parse_book(reply).bids)[:2] == ["0.5", "0.49"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("price_change", LevelChanged),
        ("tick_size", TickChanged),
        ("best_bid_ask", None),
        ("last_trade", None),
        ("new_market", None),
    ],
)
def test_recorded_events_are_what_they_do_to_a_book(
    name: str, kind: type[BookEvent] | None
) -> None:
    found = events(load_recorded(f"ws_market_{name}_msg.json"))

    assert [type(event) for event in found] == ([kind] if kind else [])


def test_a_change_sets_a_level_and_zero_takes_it_away() -> None:
    book = a_book(
        BOOK,
        changes(
            a_change(price="0.50", size="9"),
            a_change(price="0.49", size="0"),
            a_change(side="SELL", price="0.51", size="1"),
        ),
    )

    assert [(str(level.price), level.shares) for level in book.bids()] == [
        ("0.5", shares(9)),
        ("0.48", shares(30)),
    ]
    assert [(str(level.price), level.shares) for level in book.asks()] == [
        ("0.51", shares(1)),
        ("0.52", shares(25)),
    ]


def test_the_same_price_written_otherwise_is_the_same_level() -> None:
    book = a_book(BOOK, changes(a_change(price="0.490", size="0"), a_change(price=0.48, size=1)))

    assert [(str(level.price), level.shares) for level in book.bids()] == [("0.48", shares(1))]


def test_a_level_that_is_taken_away_twice_is_gone_once() -> None:
    assert prices(
        a_book(BOOK, changes(a_change(size="0")), changes(a_change(size="0"))).bids()
    ) == ["0.48"]


def test_changes_before_a_snapshot_make_no_book() -> None:
    assert not a_book(changes(a_change())).is_known


def test_a_new_tick_size_voids_the_book_until_the_next_snapshot() -> None:
    tick = {"event_type": "tick_size_change", "asset_id": TOKEN, "new_tick_size": "0.001"}

    assert not a_book(BOOK, tick, changes(a_change())).is_known
    assert a_book(BOOK, tick, BOOK).is_known


def test_a_snapshot_replaces_all_that_was_known_also_by_nothing() -> None:
    book = a_book(BOOK, BOOK | {"bids": [], "asks": []})

    assert book.is_known
    assert (book.bids(), book.asks()) == ((), ())


def test_a_market_says_what_its_orders_must_obey() -> None:
    market = parse_market(TOKEN, MARKET, condition_id="0xc0")

    assert (market.tick_size, market.min_order_shares, market.neg_risk, market.fee_rate) == (
        Decimal("0.01"),
        shares(5),
        True,
        Decimal("0.04"),
    )


def test_a_market_without_fee_terms_takes_no_fee() -> None:
    assert parse_market(TOKEN, MARKET | {"fd": None}, condition_id="0xc0").fee_rate == 0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"t": []}, "does not list"),
        ({"t": None}, "does not list"),
        ({"t": 7}, "t: must be"),
        ({"t": [7]}, "does not list"),
        ({"mts": 0.02}, "mts"),
        ({"mts": None}, "mts"),
        ({"mos": "five"}, "mos"),
        ({"mos": "1e999999999"}, "mos"),
        ({"fd": {}}, "r: must be"),
        ({"fd": {"r": "NaN"}}, "r: must be"),
        ({"fd": {"r": -1}}, "fd.r: "),
    ],
)
def test_a_market_that_cannot_be_is_refused_by_the_name_of_its_field(
    wrong: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        parse_market(TOKEN, MARKET | wrong, condition_id="0xc0")


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "1" * 5000,
        "[" * 100_000,
        "1e99999999999999999999",
        [7],
        BOOK | {"asset_id": None},
        BOOK | {"bids": 7},
        BOOK | {"asks": "many"},
        BOOK | {"bids": [{"price": "0.5"}]},
        BOOK | {"bids": [{"price": "1", "size": "1"}]},
        BOOK | {"bids": [{"price": "0", "size": "1"}]},
        BOOK | {"bids": [{"price": "0.5", "size": "-1"}]},
        BOOK | {"bids": [{"price": "0.5", "size": "1e999999999"}]},
        BOOK | {"bids": {"a": 1}},
        {"event_type": "price_change", "price_changes": 7},
        {"event_type": "price_change", "price_changes": [7]},
        changes(a_change(side="HOLD")),
        changes(a_change(side=7)),
        changes(a_change(asset_id="")),
        {"event_type": "tick_size_change"},
    ],
    ids=lambda frame: str(frame)[:60],
)
def test_a_frame_that_cannot_be_read_is_refused(frame: Any) -> None:
    with pytest.raises(InvalidMessage):
        events(frame)


@pytest.mark.parametrize("frame", ["", "PONG"])
def test_a_keep_alive_changes_nothing(frame: str) -> None:
    assert events(frame) == []


@given(frame=st.text() | JSON_VALUES.map(json.dumps))
def test_no_frame_whatsoever_raises_anything_else(frame: str) -> None:
    try:
        events(frame)
    except InvalidMessage:
        return
