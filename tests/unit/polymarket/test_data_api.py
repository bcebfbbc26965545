"""A row of the Data API is a fill as the other sources tell it; what says nothing certain is told
as the least that is certain.
"""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.domain.errors import InvalidMessage, Transient
from shared.domain.money import Side
from shared.messages.leader_fills import FillSource
from shared.polymarket.data_api import DataApi, parse_fill, parse_page
from tests.builders import LEADER, NOON, TOKEN, TRANSACTION


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


class Page:
    """A Data API with these answers, in turn."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        status, payload = self.answers.pop(0)
        return web.Response(status=status, body=orjson.dumps(payload))

    async def trades(self) -> list[dict[str, Any]]:
        http = web.Application()
        http.add_routes([web.get("/v2/trades", self.answer)])
        async with (
            TestServer(http) as server,
            DataApi(str(server.make_url("/")), timeout_s=5, interval_s=0) as api,
        ):
            return await api.fetch_trades(LEADER, NOON)


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


def test_a_row_is_a_fill_with_sizes_to_six_decimals() -> None:
    fill = parse_fill(a_row(size=Decimal("13.513513"), price=Decimal("0.7400000012")), seen_at=NOON)

    assert (fill.leader, fill.side, fill.shares, fill.source) == (
        LEADER,
        Side.BUY,
        13_513_513,
        FillSource.DATA,
    )
    assert (str(fill.price), fill.filled_at) == ("0.7400000012", NOON.replace(microsecond=0))


def test_rows_of_one_transaction_differ_by_what_they_say_and_equal_ones_are_one() -> None:
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
def test_what_is_no_fill_is_said_to_be_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        parse_fill(a_row(**wrong), seen_at=NOON)


@pytest.mark.parametrize("payload", [None, [], {"data": [1], "pagination": {}}, {"data": []}])
def test_an_answer_without_rows_and_pages_is_none(payload: Any) -> None:
    with pytest.raises(InvalidMessage):
        parse_page(payload)


async def test_numbers_of_an_answer_are_read_digit_by_digit() -> None:
    (row,) = await Page(a_page(a_row(price=0.7400000012))).trades()

    assert row["price"] == Decimal("0.7400000012")


async def test_every_page_is_asked_for_with_the_same_filters() -> None:
    page = Page(a_page(a_row(size=1), cursor="more"), a_page(a_row(size=2)))

    rows = await page.trades()

    assert [row["size"] for row in rows] == [1, 2]
    assert page.asked[0] | {"cursor": "more"} == page.asked[1]
    assert (page.asked[0]["taker_only"], page.asked[0]["start"]) == (
        "false",
        str(int(NOON.timestamp())),
    )


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_is_no_empty_list(status: int) -> None:
    with pytest.raises(Transient):
        await Page((status, {})).trades()
