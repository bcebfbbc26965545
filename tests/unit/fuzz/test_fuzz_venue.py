"""Whatever the venue answers is parsed, or refused with a reason that can be stored. A reply that
accepts an order is never taken for a rejection.
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
    parse_retry_after,
)
from shared.polymarket.trades import parse_trade
from tests.builders import NOON, TOKEN
from tests.unit.fuzz.fuzzing import TRIED_INPUTS, fuzzed
from tests.unit.fuzz.mutations import load_recorded, mutate

pytestmark = pytest.mark.timeout(3600)

MAX_BIGINT = 2**63 - 1
STATUSES = (200, 200, 200, 201, 400, 401, 403, 404, 425, 429, 500, 502, 503, 0, 999)
RETRY_AFTER = (None, None, "1", "-1", "1.5", "soon", "9" * 30, "\u0663", "")
REPLIES = (
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


def parse_json(text: str) -> Any:
    """Parse as the client does: None where it is not JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


@fuzzed
async def test_a_mutated_reply_that_accepts_an_order_is_never_a_rejection(rng: Random) -> None:
    text, status, retry_after = (
        mutate(rng, [*map(load_recorded, REPLIES), {"error": "not enough balance / allowance"}]),
        *choose_status(rng),
    )
    note(f"{status} {retry_after!r} {text}")
    body = parse_json(text)

    reply = parse_reply(status, body, retry_after_s=parse_retry_after(retry_after, now=NOON))

    TRIED_INPUTS["order replies"] += 1
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
            assert 0 <= reply.making <= MAX_BIGINT
            assert 0 <= reply.taking <= MAX_BIGINT
        case RetryLater():
            assert reply.retry_after_s is None or 0 <= reply.retry_after_s < 10**10
        case Rejected():
            assert reply.text


def choose_status(rng: Random) -> tuple[int, str | None]:
    return rng.choice(STATUSES), rng.choice(RETRY_AFTER)


@fuzzed
async def test_mutated_rows_of_our_trades_are_parsed_within_their_bounds(rng: Random) -> None:
    row = mutate_object(
        rng, [*map(load_recorded, TRADES), *load_recorded("http_trades_page.json")["data"]]
    )
    TRIED_INPUTS["trade rows"] += 1

    trade = parse_or_refuse(lambda: parse_trade(row, fee_rate=Decimal("0.04")))

    if trade is not None:
        assert trade.trade_id
        assert trade.order_hash
        assert 0 < trade.shares <= MAX_BIGINT
        assert 0 <= trade.usdc <= trade.shares
        assert 0 <= trade.fee_usdc <= trade.usdc
        assert trade.matched_at.tzinfo is not None


@fuzzed
async def test_mutated_books_and_markets_are_parsed_within_their_bounds(rng: Random) -> None:
    TRIED_INPUTS["books and markets"] += 2

    book = parse_or_refuse(
        lambda: parse_book(mutate_object(rng, [load_recorded("clob_book_response.json")]))
    )
    market = parse_or_refuse(
        lambda: parse_market(TOKEN, mutate_object(rng, [MARKET]), condition_id="0x1")
    )

    if book is not None:
        assert all(
            0 < level.price < 1 and 0 <= level.shares <= MAX_BIGINT
            for level in (*book.bids, *book.asks)
        )
        assert [level.price for level in book.bids] == sorted(
            (level.price for level in book.bids), reverse=True
        )
    if market is not None:
        assert market.tick_size in TICKS
        assert 0 <= market.fee_rate < 1
        assert 0 <= market.min_order_shares <= MAX_BIGINT


def mutate_object(rng: Random, payloads: list[Any]) -> Any:
    """A mutated payload that is still an object; else the first payload, or an empty object."""
    text = mutate(rng, payloads)
    note(text)
    value = parse_json(text)
    return (
        value
        if isinstance(value, dict)
        else payloads[0]
        if isinstance(payloads[0], dict)
        else json.loads("{}")
    )


def parse_or_refuse(parse: Callable[[], Any]) -> Any:
    """What was parsed; None where it was refused with a reason that can be stored."""
    reason = ""
    try:
        return parse()
    except InvalidMessage as error:
        reason = str(error)
    assert reason.encode()
    assert "\x00" not in reason
    return None
