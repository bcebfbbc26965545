"""Rows of Gamma as details of markets, and the client that asks for them."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidMessage, Transient
from shared.messages.filters import MarketDetails
from shared.polymarket.clob import NoMarket
from shared.polymarket.condition_ids import parse_condition_id
from shared.polymarket.gamma import Gamma, parse_details
from tests.builders import NOON, TOKEN, usdc
from tests.fakes import Clock

RECORDED = Path(__file__).parents[2] / "payloads" / "venue"
POSITION = str(0x01 << 248 | 0xABCDEF << 120 | 2 << 104)
CONDITION = "0x" + "c0" * 32


def a_row(**overrides: Any) -> dict[str, Any]:
    row = {
        "version": "v1",
        "conditionId": CONDITION,
        "clobTokenIds": json.dumps([TOKEN, "7"]),
        "liquidityNum": 20328.3747,
        "endDate": "2026-03-12T09:25:00Z",
        "tags": [{"id": "2", "label": "US Politics", "slug": "US-Politics"}],
    }
    return row | overrides


def load_recorded(name: str) -> dict[str, Any]:
    row = json.loads((RECORDED / name).read_text(), parse_float=Decimal)
    found: dict[str, Any] = row[0] if isinstance(row, list) else row
    return found


async def fetch_details(
    reply: Any, *, token: str = TOKEN, status: int = 200
) -> tuple[MarketDetails, dict[str, str]]:
    """The details, and the query that was sent."""
    queries: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        body = reply if isinstance(reply, str) else json.dumps(reply)
        return web.Response(status=status, text=body)

    application = web.Application()
    application.add_routes([web.get("/markets/keyset", answer)])
    async with (
        TestServer(application) as server,
        Gamma(str(server.make_url("/")), timeout_s=5, now=Clock(NOON)) as gamma,
    ):
        return await gamma.fetch_details(token), queries[0]


def test_a_recorded_market_has_an_end_and_liquidity_and_no_tags_unless_they_were_requested() -> (
    None
):
    details = parse_details(load_recorded("gamma_market.json"), read_at=NOON)

    assert details == MarketDetails(
        condition_id="0x78443f961b9a65869dcb39359de9960165c7e5cbad0904eac7f29cd77872a63b",
        tags=None,
        liquidity_usdc=usdc("20328.3747"),
        ends_at=datetime(2026, 3, 12, 9, 25, tzinfo=UTC),
        read_at=NOON,
    )


def test_a_recorded_closed_market_has_no_liquidity() -> None:
    row = load_recorded("gamma_market_closed_binary_accepting_false.json")

    assert parse_details(row, read_at=NOON).liquidity_usdc is None


async def test_the_market_of_a_token_is_requested_with_its_tags() -> None:
    details, query = await fetch_details({"markets": [a_row()]})

    assert query == {"clob_token_ids": TOKEN, "include_tag": "true"}
    assert (details.condition_id, details.tags) == (CONDITION, ("us-politics",))
    assert details.read_at == NOON


async def test_a_position_of_version_v2_is_requested_as_one() -> None:
    row = a_row(
        version="v2", conditionId=CONDITION[:64], clobTokenIds=None, positionIds=[POSITION, "7"]
    )

    details, query = await fetch_details({"markets": [row]}, token=POSITION)

    assert query == {"position_ids": POSITION, "include_tag": "true"}
    assert details.condition_id == CONDITION[:64] + "00"


@pytest.mark.parametrize("token", ["None", "", "-7", "7" * 79])
async def test_what_is_no_token_id_is_an_invalid_message(token: str) -> None:
    async with Gamma("http://127.0.0.1:1", timeout_s=5, now=Clock(NOON)) as gamma:
        with pytest.raises(InvalidMessage, match="token"):
            await gamma.fetch_details(token)


@pytest.mark.parametrize("rows", [[], [a_row(clobTokenIds=json.dumps(["7", "8"]))]])
async def test_a_reply_without_the_tokens_market_is_none(rows: list[Any]) -> None:
    """A parameter that Gamma does not know is ignored by it: then it lists any markets."""
    with pytest.raises(NoMarket):
        await fetch_details({"markets": rows})


@pytest.mark.parametrize(
    ("reply", "status", "error"),
    [
        ("<html>", 200, InvalidMessage),
        ([], 200, InvalidMessage),
        ({"markets": None}, 200, InvalidMessage),
        ({"markets": []}, 500, Transient),
        ({"markets": []}, 429, Transient),
    ],
)
async def test_a_reply_that_cannot_be_used_is_an_error(
    reply: Any, status: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await fetch_details(reply, status=status)


async def test_no_reply_is_transient() -> None:
    async with Gamma("http://127.0.0.1:1", timeout_s=5, now=Clock(NOON)) as gamma:
        with pytest.raises(Transient):
            await gamma.fetch_details(TOKEN)


@pytest.mark.parametrize(
    ("fields", "unknown"),
    [
        ({"liquidityNum": None}, "liquidity_usdc"),
        ({"liquidityNum": ""}, "liquidity_usdc"),
        ({"endDate": None}, "ends_at"),
        ({"endDate": ""}, "ends_at"),
        ({"tags": None}, "tags"),
    ],
)
def test_what_the_venue_does_not_say_is_not_known(fields: dict[str, Any], unknown: str) -> None:
    details = parse_details(a_row(**fields), read_at=NOON)

    assert getattr(details, unknown) is None
    assert parse_details(a_row(tags=[]), read_at=NOON).tags == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"conditionId": None},
        {"conditionId": "0x12"},
        {"liquidityNum": "much"},
        {"liquidityNum": -1},
        {"liquidityNum": float("inf")},
        {"endDate": "soon"},
        {"tags": [{"label": "Politics"}]},
        {"tags": ["politics"]},
    ],
)
def test_a_wrong_field_is_invalid(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        parse_details(a_row(**fields), read_at=NOON)


def test_an_end_without_a_time_zone_is_utc() -> None:
    details = parse_details(a_row(endDate="2026-03-12"), read_at=NOON)

    assert details.ends_at == datetime(2026, 3, 12, tzinfo=UTC)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
    st.sampled_from(["conditionId", "liquidityNum", "endDate", "tags"]),
)
def test_any_value_is_read_or_invalid(value: Any, field: str) -> None:
    try:
        details = parse_details(a_row(**{field: value}), read_at=NOON)
    except InvalidMessage:
        return
    assert details.ends_at is None or details.ends_at - NOON != timedelta.max


@pytest.mark.parametrize(
    "text", ["0x" + "AB" * 32, " 0x" + "ab" * 32, "0x" + "ab" * 31, "0x" + "ab" * 31 + "00"]
)
def test_condition_ids_have_one_spelling(text: str) -> None:
    parsed = parse_condition_id(text)

    assert (len(parsed), parsed.lower()) == (66, parsed)
    assert parse_condition_id(parsed) == parsed


@pytest.mark.parametrize("text", ["", "0x", "0x" + "ab" * 33, "0x" + "zz" * 32, "ab" * 32])
def test_what_is_no_condition_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no condition id"):
        parse_condition_id(text)
