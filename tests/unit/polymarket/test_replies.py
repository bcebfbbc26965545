"""The venue's replies to a posted order; an unknown reply is lost, never a refusal."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.polymarket.gates import Gate
from shared.polymarket.replies import (
    MEANING_BY_TEXT,
    Accepted,
    Duplicated,
    Killed,
    Reason,
    Rejected,
    Reply,
    ReplyLost,
    RetryLater,
    parse_reason,
    parse_reply,
    parse_retry_after,
)
from tests.builders import shares, usdc
from tests.unit.polymarket.recorded import load_recorded

ACCEPTED = {
    "success": True,
    "errorMsg": "",
    "orderID": "0xabc",
    "status": "matched",
    "makingAmount": "5.1",
    "takingAmount": "10",
    "tradeIDs": ["trade-1", "trade-2"],
}

TEXTS: list[tuple[int, str, type[Reply] | Reason]] = [
    (401, "Unauthorized/Invalid api key", Reason.UNAUTHORIZED),
    (401, "Invalid L1 Request headers", Reason.UNAUTHORIZED),
    (400, "not enough balance / allowance", Reason.BALANCE_TOO_LOW),
    (
        400,
        "invalid amount for a marketable BUY order ($0.9), min size: $1",
        Reason.AMOUNT_TOO_SMALL,
    ),
    (400, "order 0xab is invalid. Size (1) lower than the minimum: 5", Reason.SIZE_TOO_SMALL),
    (
        400,
        "order 0xab is invalid. Price (0.001) breaks minimum tick size rule: 0.01",
        Reason.OFF_TICK,
    ),
    (400, "order 0xab is invalid. Duplicated.", Duplicated),
    (400, "order couldn't be fully filled. FOK orders are fully filled or killed.", Killed),
    (
        400,
        "no orders found to match with FAK order. FAK orders are partially filled or killed if no "
        "match is found.",
        Killed,
    ),
    (400, "invalid post-only order: order crosses book", Reason.WOULD_CROSS),
    (
        400,
        "invalid amounts, the market buy orders maker amount supports a max accuracy of 2 "
        "decimals, taker amount a max of 4 decimals",
        Reason.TOO_MANY_DECIMALS,
    ),
    (400, "invalid expiration", Reason.INVALID_EXPIRATION),
    (400, "the market is not yet ready to process new orders", RetryLater),
    (400, "Invalid token id", Reason.UNKNOWN_TOKEN),
    (400, "Invalid order payload", Reason.MALFORMED),
    (400, "the order owner has to be the owner of the API KEY", Reason.WALLET_KEY_MISMATCH),
    (
        400,
        "the order signer address has to be the address of the API KEY",
        Reason.WALLET_KEY_MISMATCH,
    ),
    (
        400,
        "maker address not allowed, please use the deposit wallet flow",
        Reason.WALLET_NOT_ALLOWED,
    ),
    (400, "invalid order version, please use the latest clob-client", Reason.INVALID_VERSION),
    (400, "order_version_mismatch", Reason.VERSION_MISMATCH),
    (400, "invalid signature", Reason.INVALID_SIGNATURE),
    (400, "the allowance is not enough for spender 0xab", Reason.BALANCE_TOO_LOW),
    (400, "order match delayed due to market conditions", ReplyLost),
    (400, "Too many orders in payload: 16, max allowed: 15", Reason.TOO_MANY_ORDERS),
    (400, "'0xab' address banned", Reason.BANNED),
    (400, "address in closed only mode", Reason.CLOSED_ONLY),
    (400, "'0xab' address in closed only mode", Reason.CLOSED_ONLY),
    (400, "order canceled in the CTF exchange contract", Reason.CANCELED_ON_CHAIN),
    (
        403,
        "Trading restricted in your region, please refer to available regions",
        Reason.REGION_BLOCKED,
    ),
    (403, "Forbidden", Reason.REGION_BLOCKED),
    (404, "No orderbook exists for the requested token id", Reason.NO_MARKET),
    (404, "market not found", Reason.NO_MARKET),
    (400, "the orderbook 7132104567925 does not exist", Reason.NO_MARKET),
    (405, "Method Not Allowed", RetryLater),
    (408, "request timeout", ReplyLost),
    (425, "the engine restarts", RetryLater),
    (429, "Too Many Requests", RetryLater),
    (500, "order timed out", ReplyLost),
    (500, "there are no matching orders", Killed),
    (500, "the trade contains rounding issues", Reason.INVALID_MATCH),
    (
        500,
        "the price of the taker's order has a discrepancy greater than allowed with the worst "
        "maker order",
        Reason.INVALID_MATCH,
    ),
    (500, "Internal server error", ReplyLost),
    (502, "bad gateway", ReplyLost),
    (503, "Trading is currently disabled. Check polymarket.com for updates", RetryLater),
    (
        503,
        "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.",
        RetryLater,
    ),
    (503, "post-only mode: only post-only orders and cancels are allowed", RetryLater),
    (200, "not enough balance / allowance", Reason.BALANCE_TOO_LOW),
    (200, "order couldn't be fully filled. FOK orders are fully filled or killed.", Killed),
    (200, "order 0xab is invalid. Duplicated.", Duplicated),
]
UNKNOWN_TEXTS = (
    "something new",
    "order is invalid",
    "delayed",
    "the order was refused",
    "the orderbook is locked, your order is queued",
    "it does not exist yet, see the orderbook",
    "invalid amounts",
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["NaN", "Infinity", "1e999999999", "-1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ACCEPTED, "error"]), inner)
    ),
    max_leaves=6,
)


def kind_of_reply(reply: Reply) -> type[Reply] | Reason:
    return reply.reason if isinstance(reply, Rejected) else type(reply)


@pytest.mark.parametrize(
    ("status", "text", "kind"), TEXTS, ids=lambda value: value if isinstance(value, str) else None
)
def test_each_text_has_the_same_meaning_in_any_case_and_any_field(
    status: int, text: str, kind: type[Reply] | Reason
) -> None:
    assert kind_of_reply(parse_reply(status, {"error": text})) is kind
    assert kind_of_reply(parse_reply(status, {"error": text.upper()})) is kind
    assert (
        kind_of_reply(parse_reply(status, {"success": True, "orderID": "", "errorMsg": text}))
        is kind
    )


def test_every_reason_is_covered_by_a_text() -> None:
    assert {kind for _, _, kind in TEXTS if isinstance(kind, Reason)} == set(Reason)


@pytest.mark.parametrize("text", UNKNOWN_TEXTS)
@pytest.mark.parametrize("status", [200, 400, 404, 409, 422, 500, 502])
def test_an_unknown_text_is_a_lost_reply_and_not_a_refusal(status: int, text: str) -> None:
    assert parse_reply(status, {"error": text}) == ReplyLost(f"status {status} {text}")


def test_every_text_of_the_table_is_covered() -> None:
    texts = [text.lower() for _, text, _ in TEXTS]
    unknown = [
        part
        for part, _ in MEANING_BY_TEXT
        if not any(all(piece in text for piece in part.split("…")) for text in texts)
    ]

    assert unknown == ["insufficient balance"]  # a recorded reply has it


MAY_PASS = {
    Reason.AMOUNT_TOO_SMALL: False,
    Reason.SIZE_TOO_SMALL: False,
    Reason.OFF_TICK: True,
    Reason.TOO_MANY_DECIMALS: False,
    Reason.INVALID_EXPIRATION: False,
    Reason.UNKNOWN_TOKEN: False,
    Reason.MALFORMED: False,
    Reason.INVALID_VERSION: False,
    Reason.VERSION_MISMATCH: True,
    Reason.INVALID_SIGNATURE: False,
    Reason.TOO_MANY_ORDERS: False,
    Reason.WALLET_KEY_MISMATCH: False,
    Reason.WALLET_NOT_ALLOWED: False,
    Reason.UNAUTHORIZED: True,
    Reason.BANNED: False,
    Reason.CLOSED_ONLY: False,
    Reason.REGION_BLOCKED: False,
    Reason.WOULD_CROSS: True,
    Reason.BALANCE_TOO_LOW: True,
    Reason.CANCELED_ON_CHAIN: True,
    Reason.NO_MARKET: False,
    Reason.INVALID_MATCH: True,
}


def test_whether_a_refused_exit_is_worth_intending_again_is_decided_for_every_reason() -> None:
    assert {reason: reason.may_pass for reason in Reason} == MAY_PASS


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("text", ["no", "", "a: b", "off_tick: not this"])
def test_the_reason_of_a_refusal_is_read_back_from_the_recorded_reason(
    reason: Reason, text: str
) -> None:
    assert parse_reason(Rejected(reason, text).description) is reason


@pytest.mark.parametrize(
    "recorded",
    ["", "off_tick", ": off_tick", "OFF_TICK: no", "status 500 something new", "accepted as live"],
)
def test_a_recorded_reason_that_is_no_refusal_of_the_venue_has_none(recorded: str) -> None:
    assert parse_reason(recorded) is None


def test_a_refusal_of_bytes_that_were_sent_before_is_not_conclusive() -> None:
    assert Rejected(Reason.OFF_TICK, "no").is_conclusive
    assert not Rejected(Reason.OFF_TICK, "no", is_repeat=True).is_conclusive


def test_a_refusal_that_an_earlier_sending_can_cause_is_not_conclusive() -> None:
    assert not any(
        reason.is_conclusive
        for reason in (Reason.BALANCE_TOO_LOW, Reason.CANCELED_ON_CHAIN, Reason.NO_MARKET)
    )
    assert all(
        reason.is_conclusive
        for reason in (
            Reason.OFF_TICK,
            Reason.INVALID_VERSION,
            Reason.CLOSED_ONLY,
            Reason.REGION_BLOCKED,
            Reason.TOO_MANY_DECIMALS,
            Reason.INVALID_SIGNATURE,
            Reason.VERSION_MISMATCH,
        )
    )


def test_the_amounts_of_an_accepted_order_are_in_base_units() -> None:
    assert parse_reply(200, ACCEPTED) == Accepted(
        order_id="0xabc",
        status="matched",
        making=usdc("5.1"),
        taking=shares(10),
        trade_ids=("trade-1", "trade-2"),
    )


@pytest.mark.parametrize("missing", ["", None])
def test_an_accepted_order_without_matches_yet_has_zero_amounts(missing: str | None) -> None:
    reply = parse_reply(
        200,
        ACCEPTED
        | {
            "status": "delayed",
            "makingAmount": missing,
            "takingAmount": missing,
            "tradeIDs": missing,
        },
    )

    assert reply == Accepted(order_id="0xabc", status="delayed", making=0, taking=0, trade_ids=())


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("order_response_ok", 200, Accepted),
        ("order_response_failed", 200, Rejected),
        ("order_response_error_500", 500, ReplyLost),
    ],
)
def test_recorded_replies_are_parsed(name: str, status: int, kind: type[Reply]) -> None:
    assert type(parse_reply(status, load_recorded(f"http_{name}.json"))) is kind


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 404, 408, 500, 502, 504])
@pytest.mark.parametrize("body", [None, "<html>", [], {}, {"error": ""}], ids=repr)
def test_a_reply_without_a_text_is_lost_and_not_a_refusal(status: int, body: Any) -> None:
    assert isinstance(parse_reply(status, body), ReplyLost)


@pytest.mark.parametrize("status", [403, 405, 425, 429, 503])
@pytest.mark.parametrize("body", [None, "<html>", {}], ids=repr)
def test_a_gateways_page_in_front_of_the_venue_is_not_a_refusal(status: int, body: Any) -> None:
    gate = Gate.RESTARTING if status == 425 else None
    reply = parse_reply(status, body, retry_after_s=7)
    assert reply == RetryLater(f"status {status}", 7, gate=gate)


def test_an_unauthorized_reply_needs_no_text() -> None:
    assert parse_reply(401, "<html>") == Rejected(Reason.UNAUTHORIZED, "status 401")


def test_the_retry_time_is_read_from_the_header_or_else_from_the_body() -> None:
    body = {
        "error": "post-only mode: only post-only orders and cancels are allowed",
        "code": "post_only_mode",
        "retry_after_seconds": 30,
    }

    for header, expected in ((None, 30), (7, 7)):
        reply = parse_reply(503, body, retry_after_s=header)
        assert reply == RetryLater(str(body["error"]), expected, gate=Gate.POST_ONLY)


@pytest.mark.parametrize(
    ("value", "retry_after_s"), [(0.5, 1), ("2.0", 2), (None, None), ("soon", None), ([], None)]
)
def test_the_retry_time_of_the_body_may_have_a_fraction(
    value: Any, retry_after_s: int | None
) -> None:
    assert parse_reply(429, {"retry_after_seconds": value}) == RetryLater(
        "status 429", retry_after_s
    )


@pytest.mark.parametrize(
    ("header", "retry_after_s"),
    [
        ("7", 7),
        ("0", 0),
        ("0.5", 1),
        ("1.2", 2),
        (" 3 ", 3),
        ("Thu, 24 Sep 2026 12:00:09 GMT", 9),
        ("Thu, 24 Sep 2026 11:59:00 GMT", 0),
        ("Thu, 24 Sep 2026 12:00:09", 9),
        (None, None),
        ("", None),
        ("soon", None),
        ("²", None),
        ("-1", None),
        ("1e9", None),
        ("9" * 30, None),
        ("Thu, 99 Sep 2026 12:00:09 GMT", None),
    ],
)
def test_a_retry_time_is_a_number_of_seconds_or_a_date(
    header: str | None, retry_after_s: int | None
) -> None:
    now = datetime(2026, 9, 24, 12, tzinfo=UTC)

    assert parse_retry_after(header, now=now) == retry_after_s


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
def test_an_acceptance_that_is_not_fully_readable_is_lost(body: dict[str, Any]) -> None:
    assert isinstance(parse_reply(200, body), ReplyLost)


@given(status=st.integers(200, 599), body=JSON_VALUES)
def test_no_reply_raises_and_only_status_200_is_accepted(status: int, body: Any) -> None:
    reply = parse_reply(status, body)

    assert not isinstance(reply, Accepted) or status == 200


@pytest.mark.parametrize("field", ["makingAmount", "takingAmount"])
@pytest.mark.parametrize("amount", [str(2**63), 10**13, "-1", "1e999999", [], {"a": 1}])
def test_an_amount_that_nobody_has_leaves_the_outcome_unknown(field: str, amount: object) -> None:
    body = {"success": True, "orderID": "0x1", "status": "matched", field: amount}

    reply = parse_reply(200, body)

    assert isinstance(reply, ReplyLost) == bool(amount)
