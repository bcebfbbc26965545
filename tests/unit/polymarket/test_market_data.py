"""Books and markets from REST replies and from frames of the market channel."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidMessage
from shared.domain.outcomes import OutcomeToken
from shared.polymarket.market_data import (
    BestPrices,
    BookEvent,
    BookSnapshot,
    EventUnreadable,
    LevelChanged,
    LiveBook,
    TickChanged,
    is_text,
    parse_book,
    parse_events,
    parse_market,
    parse_price,
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


def changes(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"event_type": "price_change", "price_changes": list(entries)}


def a_book(*frames: Any) -> LiveBook:
    book = LiveBook()
    for event in events(*frames):
        book.apply(event)
    return book


def prices(levels: Any) -> list[str]:
    return [str(level.price) for level in levels]


def test_recorded_books_are_sorted_best_first() -> None:
    for frame in load_recorded("clob_market_channel.json"):
        for event in events(frame):
            if isinstance(event, BookSnapshot):
                assert event.bids[0].price == max(level.price for level in event.bids)
                assert event.asks[0].price == min(level.price for level in event.asks)
                assert event.bids[0].price < event.asks[0].price


def test_the_recorded_frames_as_one_array_build_the_expected_book() -> None:
    frames = load_recorded("clob_market_channel.json")
    token_id = frames[1]["asset_id"]
    book = LiveBook()

    for event in events(frames):
        if event.token_id == token_id:
            book.apply(event)

    shares_by_price = {str(level.price): level.shares for level in book.bids()}
    assert shares_by_price["0.59"] == shares("704942.22")
    assert shares_by_price["0.51"] == shares(90)
    assert prices(book.bids())[0] == "0.61"
    assert prices(book.asks())[0] == "0.62"


@pytest.mark.parametrize("name", ["clob_book_response.json", "ws_market_book_msg.json"])
def test_a_recorded_book_is_the_same_whatever_the_order_of_its_levels(name: str) -> None:
    reply = load_recorded(name)
    reversed_reply = reply | {"bids": reply["bids"][::-1], "asks": reply["asks"][::-1]}

    assert parse_book(reply) == parse_book(reversed_reply)
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
def test_recorded_events_are_parsed_by_their_effect_on_a_book(
    name: str, kind: type[BookEvent] | None
) -> None:
    parsed = events(load_recorded(f"ws_market_{name}_msg.json"))

    assert [type(event) for event in parsed] == ([kind] if kind else [])


def test_a_change_sets_a_level_and_size_zero_removes_it() -> None:
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


def test_the_same_price_in_another_notation_is_the_same_level() -> None:
    book = a_book(BOOK, changes(a_change(price="0.490", size="0"), a_change(price=0.48, size=1)))

    assert [(str(level.price), level.shares) for level in book.bids()] == [("0.48", shares(1))]


def test_removing_a_level_twice_has_no_further_effect() -> None:
    assert prices(
        a_book(BOOK, changes(a_change(size="0")), changes(a_change(size="0"))).bids()
    ) == ["0.48"]


def test_changes_before_a_snapshot_leave_the_book_unknown() -> None:
    assert not a_book(changes(a_change())).is_known


def test_a_new_tick_size_makes_the_book_unknown_until_the_next_snapshot() -> None:
    tick = {"event_type": "tick_size_change", "asset_id": TOKEN, "new_tick_size": "0.001"}

    assert not a_book(BOOK, tick, changes(a_change())).is_known
    assert a_book(BOOK, tick, BOOK).is_known


def test_an_empty_snapshot_replaces_the_whole_book() -> None:
    book = a_book(BOOK, BOOK | {"bids": [], "asks": []})

    assert book.is_known
    assert (book.bids(), book.asks()) == ((), ())


def test_a_market_contains_its_trading_rules() -> None:
    market = parse_market(TOKEN, MARKET, condition_id="0xc0")

    assert (market.tick_size, market.min_order_shares, market.neg_risk, market.fee_rate) == (
        Decimal("0.01"),
        shares(5),
        True,
        Decimal("0.04"),
    )


YES = {"t": TOKEN, "o": "Yes"}


@pytest.mark.parametrize(
    ("tokens", "complement"),
    [
        ([YES, {"t": "7", "o": "No"}], OutcomeToken(token_id="7", outcome="No")),
        ([{"t": "7"}, YES], OutcomeToken(token_id="7", outcome="")),
        ([YES], None),
        ([YES, {"t": "7"}, {"t": "8"}], None),
        ([YES, YES], None),
        ([YES, {"t": "7", "o": "N\x00o" * 200}], OutcomeToken(token_id="7", outcome="No" * 40)),
    ],
)
def test_only_a_binary_market_has_a_complement(
    tokens: list[dict[str, str]], complement: OutcomeToken | None
) -> None:
    market = parse_market(TOKEN, MARKET | {"t": tokens}, condition_id="0xc0")

    assert market.find_complement(TOKEN) == complement


def test_a_market_without_fee_terms_has_fee_rate_zero() -> None:
    assert parse_market(TOKEN, MARKET | {"fd": None}, condition_id="0xc0").fee_rate == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"t": []}, "does not list"),
        ({"t": None}, "does not list"),
        ({"t": 7}, "t: must be"),
        ({"t": [7]}, "t: "),
        ({"t": [YES, {"o": "No"}]}, "t: "),
        ({"t": [YES, {"t": None}]}, "t: "),
        ({"t": [YES, {"t": "-7"}]}, "t: "),
        ({"t": [YES, {"t": "\u0667"}]}, "t: "),
        ({"t": [YES, {"t": "7" * 79}]}, "t: "),
        ({"t": [YES, None]}, "t: "),
        ({"mts": 0.02}, "mts"),
        ({"mts": None}, "mts"),
        ({"mos": "five"}, "mos"),
        ({"mos": "1e999999999"}, "mos"),
        ({"fd": {}}, "r: must be"),
        ({"fd": {"r": "NaN"}}, "r: must be"),
        ({"fd": {"r": -1}}, "fd.r: "),
    ],
)
def test_an_invalid_market_is_refused_with_the_name_of_its_field(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidMessage, match=message):
        parse_market(TOKEN, MARKET | wrong, condition_id="0xc0")


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "[1" + "1" * 5000,
        "[" * 100_000,
        "[1e99999999999999999999]",
        [7],
        BOOK | {"asset_id": None},
        {"event_type": "price_change", "price_changes": 7},
        {"event_type": "price_change", "price_changes": [7]},
        changes(a_change(asset_id="")),
        {"event_type": "tick_size_change"},
    ],
    ids=lambda frame: str(frame)[:60],
)
def test_a_frame_that_may_concern_any_book_is_an_invalid_message(frame: Any) -> None:
    with pytest.raises(InvalidMessage):
        events(frame)


@pytest.mark.parametrize(
    "frame",
    [
        BOOK | {"bids": 7},
        BOOK | {"asks": "many"},
        BOOK | {"bids": [{"price": "0.5"}]},
        BOOK | {"bids": [{"price": "1", "size": "1"}]},
        BOOK | {"bids": [{"price": "0", "size": "1"}]},
        BOOK | {"bids": [{"price": "0.5", "size": "-1"}]},
        BOOK | {"bids": [{"price": "0.5", "size": "1e999999999"}]},
        BOOK | {"bids": {"a": 1}},
        BOOK | {"tick_size": "0.02"},
        changes(a_change(side="HOLD")),
        changes(a_change(side=7)),
        changes(a_change(best_bid="high", best_ask="0.5")),
    ],
    ids=lambda frame: str(frame)[:120],
)
def test_an_unreadable_event_that_names_its_token_concerns_that_book_alone(frame: Any) -> None:
    (event,) = events(frame)

    assert isinstance(event, EventUnreadable)
    assert event.token_id == TOKEN
    assert not a_book(BOOK, frame).is_known


def test_an_unreadable_entry_leaves_the_other_entries_of_its_frame() -> None:
    parsed = events(changes(a_change(side="HOLD"), a_change(asset_id="2")))

    assert [(type(each), each.token_id) for each in parsed] == [
        (EventUnreadable, TOKEN),
        (LevelChanged, "2"),
    ]


@pytest.mark.parametrize("frame", ["INVALID OPERATION", "pong", "7", "no {events}"])
def test_a_text_of_the_venue_has_no_events(frame: str) -> None:
    assert is_text(frame)
    assert events(frame) == []


@pytest.mark.parametrize("frame", ["", "PONG", "{}", "[]", " [", "{"])
def test_keep_alives_and_json_are_no_text(frame: str) -> None:
    assert not is_text(frame)


def test_a_recorded_book_names_its_tick() -> None:
    ticks = [
        str(event.tick_size)
        for event in events(load_recorded("clob_market_channel.json"))
        if isinstance(event, BookSnapshot)
    ]

    assert ticks == ["0.001", "0.01", "0.01"]
    assert parse_book(BOOK).tick_size is None


def test_a_book_has_the_tick_of_its_last_snapshot() -> None:
    book = a_book(BOOK | {"tick_size": "0.01"}, BOOK | {"tick_size": "0.001"})
    assert book.tick_size == Decimal("0.001")

    book.forget()
    assert book.tick_size is None


def test_the_recorded_best_prices_are_those_of_the_book_that_is_kept() -> None:
    frames = load_recorded("clob_market_channel.json")
    token_id, book = frames[1]["asset_id"], LiveBook()

    compared = 0
    for event in events(frames):
        if event.token_id == token_id:
            book.apply(event)
            if isinstance(event, LevelChanged) and event.best is not None:
                compared += 1
                assert book.has_best(event.best)
    assert compared == 3


@pytest.mark.parametrize(
    ("bid", "ask", "agrees"),
    [
        ("0.49", "0.51", True),
        ("0.490", "0.51", True),
        ("0.48", "0.51", False),
        ("0.49", "0.52", False),
        ("0", "0.51", False),
        ("0.49", "1", False),
    ],
)
def test_a_book_is_compared_with_the_best_prices_that_the_venue_names(
    bid: str, ask: str, agrees: bool
) -> None:
    (change,) = events(changes(a_change(price="0.40", best_bid=bid, best_ask=ask)))
    assert isinstance(change, LevelChanged)
    assert change.best is not None

    assert a_book(BOOK).has_best(change.best) is agrees
    assert LiveBook().has_best(change.best)


def test_an_empty_side_has_no_best_price() -> None:
    (change,) = events(changes(a_change(best_bid="0", best_ask="1")))

    assert isinstance(change, LevelChanged)
    assert change.best == BestPrices(bid=None, ask=None)
    assert a_book(BOOK | {"bids": [], "asks": []}).has_best(change.best)


@pytest.mark.parametrize("missing", [{}, {"best_bid": "0.5"}, {"best_bid": "", "best_ask": ""}])
def test_a_change_without_best_prices_has_none(missing: dict[str, str]) -> None:
    (change,) = events(changes(a_change(**missing)))

    assert isinstance(change, LevelChanged)
    assert change.best is None


@pytest.mark.parametrize("price", [None, "", "0", "1", "NaN", "-0.5", "half"])
def test_a_price_outside_of_the_grid_is_an_invalid_message(price: Any) -> None:
    assert parse_price({"mid": "0.50"}, "mid") == Decimal("0.5")
    with pytest.raises(InvalidMessage, match="mid"):
        parse_price({"mid": price}, "mid")


@pytest.mark.parametrize("frame", ["", "PONG"])
def test_a_keep_alive_has_no_events(frame: str) -> None:
    assert events(frame) == []


@given(frame=st.text() | JSON_VALUES.map(json.dumps))
def test_no_frame_raises_anything_but_invalid_message(frame: str) -> None:
    try:
        events(frame)
    except InvalidMessage:
        return
