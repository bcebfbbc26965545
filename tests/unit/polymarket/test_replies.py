"""One table from the venue's texts to our types; what tells nothing is lost, never refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.polymarket.replies import Accepted, Duplicated, Killed, Lost, NotNow, Rejected, Reply, parse_reply
from tests.builders import shares, usdc
from tests.unit.polymarket.recorded import recorded

ACCEPTED = {
    "success": True, "errorMsg": "", "orderID": "0xabc", "status": "matched", "makingAmount": "5.1", "takingAmount": "10",
    "tradeIDs": ["trade-1", "trade-2"],
}  # fmt: skip

TEXTS: list[tuple[int, str, type[Reply]]] = [
    (401, "Unauthorized/Invalid api key", Rejected),
    (401, "Invalid L1 Request headers", Rejected),
    (400, "not enough balance / allowance", Rejected),
    (400, "invalid amount for a marketable BUY order ($0.9), min size: $1", Rejected),
    (400, "order 0xab is invalid. Size (1) lower than the minimum: 5", Rejected),
    (400, "order 0xab is invalid. Price (0.001) breaks minimum tick size rule: 0.01", Rejected),
    (400, "order 0xab is invalid. Duplicated.", Duplicated),
    (400, "order couldn't be fully filled. FOK orders are fully filled or killed.", Killed),
    (400, "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.", Killed),
    (400, "invalid post-only order: order crosses book", Rejected),
    (400, "invalid expiration", Rejected),
    (400, "the market is not yet ready to process new orders", NotNow),
    (400, "Invalid token id", Rejected),
    (400, "Invalid order payload", Rejected),
    (400, "the order owner has to be the owner of the API KEY", Rejected),
    (400, "the order signer address has to be the address of the API KEY", Rejected),
    (400, "maker address not allowed, please use the deposit wallet flow", Rejected),
    (400, "invalid order version, please use the latest clob-client", Rejected),
    (400, "order match delayed due to market conditions", Lost),
    (400, "Too many orders in payload: 16, max allowed: 15", Rejected),
    (400, "'0xab' address banned", Rejected),
    (400, "address in closed only mode", Rejected),
    (400, "order canceled in the CTF exchange contract", Rejected),
    (404, "No orderbook exists for the requested token id", Rejected),
    (404, "market not found", Rejected),
    (408, "request timeout", Lost),
    (425, "the engine restarts", NotNow),
    (429, "Too Many Requests", NotNow),
    (500, "order timed out", Lost),
    (500, "there are no matching orders", Killed),
    (500, "the trade contains rounding issues", Lost),
    (500, "Internal server error", Lost),
    (502, "bad gateway", Lost),
    (503, "Trading is currently disabled. Check polymarket.com for updates", NotNow),
    (503, "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.", NotNow),
    (503, "post-only mode: only post-only orders and cancels are allowed", NotNow),
    (200, "not enough balance / allowance", Rejected),
    (200, "order couldn't be fully filled. FOK orders are fully filled or killed.", Killed),
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["NaN", "Infinity", "1e999999999", "-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ACCEPTED, "error"]), inner),
    max_leaves=6,
)


@pytest.mark.parametrize(("status", "text", "kind"), TEXTS, ids=lambda value: value if isinstance(value, str) else None)
def test_every_text_of_the_venue_has_one_meaning(status: int, text: str, kind: type[Reply]) -> None:
    assert type(parse_reply(status, {"error": text})) is kind
    assert type(parse_reply(status, {"error": text.upper()})) is kind


def test_an_accepted_order_says_what_it_gave_and_got_in_base_units() -> None:
    assert parse_reply(200, ACCEPTED) == Accepted(status="matched", making=usdc("5.1"), taking=shares(10), trade_ids=("trade-1", "trade-2"))


@pytest.mark.parametrize("missing", ["", None])
def test_an_accepted_order_that_matched_nothing_yet_has_no_amounts(missing: str | None) -> None:
    reply = parse_reply(200, ACCEPTED | {"status": "delayed", "makingAmount": missing, "takingAmount": missing, "tradeIDs": missing})

    assert reply == Accepted(status="delayed", making=0, taking=0, trade_ids=())


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [("order_response_ok", 200, Accepted), ("order_response_failed", 200, Rejected), ("order_response_error_500", 500, Lost)],
)
def test_recorded_answers_are_read(name: str, status: int, kind: type[Reply]) -> None:
    assert type(parse_reply(status, recorded(f"venue/http_{name}.json"))) is kind


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 403, 404, 408, 500, 502, 504])
@pytest.mark.parametrize("body", [None, "<html>", [], {}, {"error": ""}], ids=repr)
def test_an_answer_that_tells_nothing_is_lost_and_not_refused(status: int, body: Any) -> None:
    assert isinstance(parse_reply(status, body), Lost)


@pytest.mark.parametrize("status", [425, 429, 503])
def test_a_venue_that_takes_no_orders_says_so_without_words(status: int) -> None:
    assert parse_reply(status, None, retry_after="7") == NotNow(f"status {status}", 7)


@pytest.mark.parametrize(("header", "waits"), [("7", 7), (None, None), ("", None), ("soon", None), ("²", None), ("-1", None)])
def test_a_wait_is_taken_only_if_it_is_a_number_of_seconds(header: str | None, waits: int | None) -> None:
    assert parse_reply(429, {"error": "Too Many Requests"}, retry_after=header) == NotNow("Too Many Requests", waits)


@pytest.mark.parametrize(
    "body",
    [
        ACCEPTED | {"errorMsg": "something is not as it should be"},
        ACCEPTED | {"success": False},
        ACCEPTED | {"success": "true"},
        ACCEPTED | {"orderID": ""},
        ACCEPTED | {"makingAmount": "many"},
        ACCEPTED | {"makingAmount": "NaN"},
        ACCEPTED | {"takingAmount": "Infinity"},
        ACCEPTED | {"takingAmount": "1e999999999"},
        ACCEPTED | {"takingAmount": "-1"},
        ACCEPTED | {"tradeIDs": 7},
    ],
    ids=str,
)
def test_a_yes_that_cannot_be_read_whole_is_lost(body: dict[str, Any]) -> None:
    assert isinstance(parse_reply(200, body), Lost)


@given(status=st.integers(200, 599), body=JSON_VALUES)
def test_no_answer_whatsoever_raises(status: int, body: Any) -> None:
    reply = parse_reply(status, body)

    assert not isinstance(reply, Accepted) or status == 200
