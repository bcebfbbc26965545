"""Whatever the venue answers is understood, or refused in our own words; a yes is never read into a
no, and no secret is told.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import note

from shared.domain.errors import InvalidMessage
from shared.polymarket.market_data import TICKS, parse_book, parse_market
from shared.polymarket.replies import (
    Accepted,
    Duplicated,
    Killed,
    Rejected,
    ReplyLost,
    RetryLater,
    parse_reply,
)
from shared.polymarket.trades import parse_trade
from tests.builders import TOKEN
from tests.unit.fuzz.fuzzing import TRIED_INPUTS, fuzzed
from tests.unit.fuzz.mutations import mutate, load_recorded

pytestmark = pytest.mark.timeout(3600)

MOST = 2**63 - 1
STATUSES = (200, 200, 200, 201, 400, 401, 403, 404, 425, 429, 500, 502, 503, 0, 999)
WAITS = (None, None, "1", "-1", "1.5", "soon", "9" * 30, "\u0663", "")
ANSWERS = (
    "http_order_response_ok.json",
    "http_order_response_failed.json",
    "http_order_response_error_500.json",
)
TRADES = ("http_trade_report.json", "ws_user_trade.json")
MARKET = {
    "t": [{"t": TOKEN}, {"t": "7"}],
    "mts": "0.01",
    "mos": 5,
    "nr": False,
    "fd": {"r": "0.04", "e": 1},
}


def read(text: str) -> Any:
    """As the client does: None where it is not JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


@fuzzed
async def test_answers_to_an_order(rng: Random) -> None:
    text, status, wait = (
        mutate(rng, [*map(load_recorded, ANSWERS), {"error": "not enough balance / allowance"}]),
        *choices(rng),
    )
    note(f"{status} {wait!r} {text}")
    body = read(text)

    reply = parse_reply(status, body, retry_after=wait)

    TRIED_INPUTS["order answers"] += 1
    if (
        isinstance(body, dict)
        and body.get("success") is True
        and body.get("orderID")
        and not isinstance(reply, Accepted)
    ):
        assert isinstance(reply, ReplyLost | RetryLater | Killed | Duplicated)
    match reply:
        case Accepted():
            assert status == 200
            assert 0 <= reply.making <= MOST
            assert 0 <= reply.taking <= MOST
        case RetryLater():
            assert reply.retry_after_s is None or 0 <= reply.retry_after_s < 10**10
        case Rejected():
            assert reply.text


def choices(rng: Random) -> tuple[int, str | None]:
    return rng.choice(STATUSES), rng.choice(WAITS)


@fuzzed
async def test_rows_of_our_trades(rng: Random) -> None:
    row = read_object(
        rng, [*map(load_recorded, TRADES), *load_recorded("http_trades_page.json")["data"]]
    )
    TRIED_INPUTS["trade rows"] += 1

    trade = understood(lambda: parse_trade(row, fee_rate=Decimal("0.04")))

    if trade is not None:
        assert trade.trade_id
        assert trade.order_hash
        assert 0 < trade.shares <= MOST
        assert 0 <= trade.usdc <= trade.shares
        assert 0 <= trade.fee_usdc <= trade.usdc
        assert trade.matched_at.tzinfo is not None


@fuzzed
async def test_books_and_markets(rng: Random) -> None:
    TRIED_INPUTS["books and markets"] += 2

    book = understood(
        lambda: parse_book(read_object(rng, [load_recorded("clob_book_response.json")]))
    )
    market = understood(lambda: parse_market(TOKEN, read_object(rng, [MARKET]), condition_id="0x1"))

    if book is not None:
        assert all(
            0 < level.price < 1 and 0 <= level.shares <= MOST for level in (*book.bids, *book.asks)
        )
        assert [level.price for level in book.bids] == sorted(
            (level.price for level in book.bids), reverse=True
        )
    if market is not None:
        assert market.tick_size in TICKS
        assert 0 <= market.fee_rate < 1
        assert 0 <= market.min_order_shares <= MOST


def read_object(rng: Random, payloads: list[Any]) -> Any:
    """A mutated payload that is still an object; as it was where it is none."""
    text = mutate(rng, payloads)
    note(text)
    value = read(text)
    return (
        value
        if isinstance(value, dict)
        else payloads[0]
        if isinstance(payloads[0], dict)
        else json.loads("{}")
    )


def understood(parse: Callable[[], Any]) -> Any:
    """What was parsed; None where it was refused, with a reason that can be kept."""
    reason = ""
    try:
        return parse()
    except InvalidMessage as error:
        reason = str(error)
    assert reason.encode()
    assert "\x00" not in reason
    return None
