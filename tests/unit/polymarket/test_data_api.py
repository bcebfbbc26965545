"""Rows of the Data API as fills, and the client that reads them page by page."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.domain.errors import InvalidMessage, Transient
from shared.domain.money import Side
from shared.messages.leader_fills import FillSource
from shared.polymarket.data_api import (
    DataApi,
    Trades,
    parse_fill,
    parse_page,
    parse_position,
    parse_value,
)
from shared.polymarket.request_budget import DEFAULT_PAUSE_S, RequestBudget
from shared.polymarket.request_families import Family
from tests.builders import LEADER, NOON, OTHER_PROXY, TOKEN, TRANSACTION
from tests.fakes import VirtualTime

PATHS = ("/v2/trades", "/v2/positions", "/v2/value")


def a_row(**overrides: Any) -> dict[str, Any]:
    row = {
        "proxy_wallet": LEADER,
        "side": "BUY",
        "token_id": TOKEN,
        "condition_id": "0x" + "cd" * 32,
        "size": "13.513513",
        "price": "0.7400000012",
        "timestamp": int(NOON.timestamp()),
        "title": "Will it?",
        "outcome": "Yes",
        "outcome_index": 0,
        "transaction_hash": TRANSACTION,
    }
    return row | overrides


class FakeDataApi:
    """A Data API with these replies, in turn."""

    def __init__(self, *replies: tuple[int, Any]) -> None:
        self.replies = list(replies)
        self.queries: list[dict[str, str]] = []

    async def reply(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        status, payload = self.replies.pop(0)
        return web.Response(status=status, body=orjson.dumps(payload))

    async def fetch_trades(self) -> Trades:
        async with self.opened() as api:
            return await api.fetch_trades(LEADER, NOON, NOON + timedelta(minutes=1))

    async def fetch_positions(self) -> list[dict[str, Any]]:
        async with self.opened() as api:
            return await api.fetch_positions(LEADER)

    async def fetch_value(self) -> int:
        async with self.opened() as api:
            return await api.fetch_value(LEADER)

    @asynccontextmanager
    async def opened(self, budget: RequestBudget | None = None) -> AsyncIterator[DataApi]:
        application = web.Application()
        application.add_routes([web.get(path, self.reply) for path in PATHS])
        async with (
            TestServer(application) as server,
            DataApi(str(server.make_url("/")), timeout_s=5, budget=budget) as api,
        ):
            yield api


def a_page(*rows: dict[str, Any], cursor: str | None = None) -> tuple[int, Any]:
    return 200, {
        "data": rows,
        "pagination": {
            "limit": 500,
            "offset": 0,
            "has_more": cursor is not None,
            "next_cursor": cursor,
        },
    }


def test_a_row_becomes_a_fill_with_its_size_in_micro_shares() -> None:
    fill = parse_fill(a_row(size=Decimal("13.513513"), price=Decimal("0.7400000012")), seen_at=NOON)

    assert (fill.leader, fill.side, fill.shares, fill.source) == (
        LEADER,
        Side.BUY,
        13_513_513,
        FillSource.DATA,
    )
    assert (str(fill.price), fill.filled_at) == ("0.7400000012", NOON.replace(microsecond=0))


def test_equal_rows_of_a_transaction_get_one_id_and_different_rows_get_their_own() -> None:
    first, again, other = (
        parse_fill(row, seen_at=NOON)
        for row in (a_row(size="5"), a_row(size="5.000000"), a_row(size="6"))
    )

    assert first.message_id == again.message_id != other.message_id


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"price": 1.5},
        {"side": None},
        {"transaction_hash": "0x1"},
        {"proxy_wallet": "me"},
    ],
)
def test_a_row_that_is_not_a_fill_is_an_invalid_message(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        parse_fill(a_row(**wrong), seen_at=NOON)


@pytest.mark.parametrize("payload", [None, [], {"data": [1], "pagination": {}}, {"data": []}])
def test_a_reply_without_data_and_pagination_is_an_invalid_message(payload: Any) -> None:
    with pytest.raises(InvalidMessage):
        parse_page(payload)


async def test_numbers_of_a_reply_keep_all_their_digits() -> None:
    trades = await FakeDataApi(a_page(a_row(price=0.7400000012))).fetch_trades()

    (row,) = trades.rows
    assert row["price"] == Decimal("0.7400000012")


CURSORS_WITHOUT_END = [["1", "1", "2"], ["1", "2", "1", "3"], range(30)]


@pytest.mark.parametrize(
    ("cursors", "requests"), list(zip(CURSORS_WITHOUT_END, [2, 3, 20], strict=True))
)
async def test_pages_that_do_not_end_are_left_with_what_was_read(
    cursors: Sequence[str | int], requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    api = FakeDataApi(*(a_page(a_row(), cursor=str(cursor)) for cursor in cursors))

    rows = await api.fetch_positions()

    assert (len(rows), len(api.queries)) == (requests, requests)
    assert "do not end" in caplog.text


@pytest.mark.parametrize(
    ("cursors", "requests"), list(zip(CURSORS_WITHOUT_END, [2, 3, 4], strict=True))
)
async def test_trades_on_further_pages_are_known_to_be_missing(
    cursors: Sequence[str | int], requests: int
) -> None:
    api = FakeDataApi(*(a_page(a_row(), cursor=str(cursor)) for cursor in cursors))

    trades = await api.fetch_trades()

    assert (len(trades.rows), len(api.queries)) == (requests, requests)
    assert not trades.is_complete


async def test_every_page_is_requested_with_the_same_filters() -> None:
    api = FakeDataApi(a_page(a_row(size=1), cursor="more"), a_page(a_row(size=2)))

    trades = await api.fetch_trades()

    assert ([row["size"] for row in trades.rows], trades.is_complete) == ([1, 2], True)
    assert api.queries[0] | {"cursor": "more"} == api.queries[1]
    noon = int(NOON.timestamp())
    assert api.queries[0].items() >= {
        ("taker_only", "false"),
        ("start", str(noon)),
        ("end", str(noon + 60)),
    }


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refused_request_is_an_error_and_not_an_empty_list(status: int) -> None:
    with pytest.raises(Transient):
        await FakeDataApi((status, {})).fetch_trades()


def a_value(value: Any, wallet: str = LEADER) -> tuple[int, Any]:
    return 200, {"data": {"proxy_wallet": wallet, "value": value}}


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (12, 12_000_000), (1234.56, 1_234_560_000)], ids=str
)
async def test_the_value_of_positions_is_read_in_micro_usdc(value: Any, expected: int) -> None:
    data_api = FakeDataApi(a_value(value, LEADER.lower()))

    assert await data_api.fetch_value() == expected
    assert data_api.queries == [{"user": LEADER}]


def test_a_value_with_more_digits_is_rounded_down() -> None:
    payload = {"data": {"proxy_wallet": LEADER, "value": Decimal("0.1234569")}}

    assert parse_value(payload, wallet=LEADER) == 123_456


@pytest.mark.parametrize(
    "payload",
    [
        [],
        {},
        {"data": []},
        {"data": None},
        {"data": {"value": 5}},
        {"data": {"proxy_wallet": OTHER_PROXY, "value": 5}},
        *(
            {"data": {"proxy_wallet": LEADER, "value": value}}
            for value in (None, "5", True, -1, 10**12, float("nan"), Decimal("1e400"))
        ),
    ],
    ids=str,
)
def test_what_says_no_value_of_the_wallet_is_not_zero(payload: Any) -> None:
    with pytest.raises(InvalidMessage, match="value"):
        parse_value(payload, wallet=LEADER)


async def test_a_value_that_the_venue_refuses_is_asked_for_again_later() -> None:
    with pytest.raises(Transient, match="429"):
        await FakeDataApi((429, {})).fetch_value()


async def test_a_429_slows_down_what_it_was_the_answer_to() -> None:
    api = FakeDataApi((429, {}), a_page())
    virtual = VirtualTime()
    budget = RequestBudget(clock=virtual, sleep=virtual.sleep)

    async with api.opened(budget) as client:
        with pytest.raises(Transient, match="429"):
            await client.fetch_value(LEADER)
        await client.fetch_trades(LEADER, NOON, NOON)
        assert virtual.now_s == 0
        await budget.wait_for_room(Family.DATA_OTHER)

    assert virtual.now_s == DEFAULT_PAUSE_S


async def test_positions_are_read_page_by_page() -> None:
    api = FakeDataApi(
        a_page({"token_id": "1", "current_price": 0.25}, cursor="more"),
        a_page({"token_id": "2", "current_price": 1}),
    )

    rows = await api.fetch_positions()

    assert list(map(parse_position, rows)) == [("1", Decimal("0.25")), ("2", Decimal(1))]
    assert api.queries[0] | {"cursor": "more"} == api.queries[1]
    assert (api.queries[0]["user"], api.queries[0]["status"]) == (LEADER, "OPEN")


@pytest.mark.parametrize(
    "changes",
    [
        {"token_id": 1},
        {"token_id": "0x1"},
        {"token_id": "\u0661"},
        {"token_id": str(2**256)},
        {"token_id": "9" * 5000},
        {"current_price": "0.5"},
        {"current_price": 2},
    ],
)
def test_a_position_that_cannot_be_read_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        parse_position({"token_id": "1", "current_price": Decimal("0.5")} | changes)


def test_the_largest_id_of_a_token_is_read() -> None:
    largest = str(2**256 - 1)

    position = parse_position({"token_id": largest, "current_price": Decimal("0.5")})

    assert position == (largest, Decimal("0.5"))
