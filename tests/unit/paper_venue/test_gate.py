"""The gate refuses requests by the venue's state and limits."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.exchange import rules
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults
from services.paper_venue.faults.gate import (
    ADDRESS_LIMIT,
    GEOBLOCKED,
    SIGNER_LIMIT,
    ClobRequest,
    Gate,
    OrderSummary,
    Refusal,
    SlidingWindow,
    parse_order_summaries,
)

NOW_MS = 1_790_000_000_000
BUY = OrderSummary(maker="0xSafe", buys=True, post_only=False)
SELL = OrderSummary(maker="0xSafe", buys=False, post_only=False)
RESTING = OrderSummary(maker="0xSafe", buys=True, post_only=True)


def a_request(
    method: str = "POST", path: str = "/order", *orders: OrderSummary, address: str = "0xSigner"
) -> ClobRequest:
    return ClobRequest(method=method, path=path, remote="127.0.0.1", address=address, orders=orders)


PLACE = a_request("POST", "/order", BUY)
CANCEL = a_request("DELETE", "/cancel-all")
READ = a_request("GET", "/data/trades")


def gate_refusal(
    fault: Fault, request: ClobRequest, *, after_s: str = "0", **options: Any
) -> Refusal | None:
    faults = Faults()
    faults.set({fault: FaultOptions(**options)}, now_ms=NOW_MS)
    later_ms = NOW_MS + int(Decimal(after_s) * 1000)
    return Gate(faults).refusal(request, now_ms=later_ms, machine_ms=later_ms)


def status(refusal: Refusal | None) -> int | None:
    return refusal.status if refusal else None


@pytest.mark.parametrize(
    ("fault", "placing", "resting", "selling", "cancelling"),
    [
        (Fault.RESTART, 425, 425, 425, 425),
        (Fault.DISABLED, 503, 503, 503, 503),
        (Fault.CANCEL_ONLY, 503, 503, 503, None),
        (Fault.POST_ONLY, 503, None, 503, None),
        (Fault.GEOBLOCK, 403, 403, 403, None),
        (Fault.CLOSED_ONLY, 400, 400, None, None),
    ],
)
def test_each_state_refuses_the_requests_that_it_does_not_accept(
    fault: Fault,
    placing: int | None,
    resting: int | None,
    selling: int | None,
    cancelling: int | None,
) -> None:
    requests = (
        PLACE,
        a_request("POST", "/order", RESTING),
        a_request("POST", "/order", SELL),
        CANCEL,
        READ,
    )
    assert [status(gate_refusal(fault, request)) for request in requests] == [
        placing,
        resting,
        selling,
        cancelling,
        None,
    ]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault.DISABLED, rules.TRADING_DISABLED),
        (Fault.CANCEL_ONLY, rules.CANCEL_ONLY),
        (Fault.POST_ONLY, rules.POST_ONLY_MODE),
        (Fault.GEOBLOCK, GEOBLOCKED),
        (Fault.CLOSED_ONLY, rules.CLOSED_ONLY),
    ],
)
def test_each_state_refuses_with_the_venues_text(fault: Fault, text: str) -> None:
    refusal = gate_refusal(fault, PLACE)
    assert refusal is not None
    assert refusal.body["error"] == text


def test_a_restart_is_closed_then_post_only_and_then_over() -> None:
    phases = [
        gate_refusal(Fault.RESTART, PLACE, after_s=after, seconds="3")
        for after in ("0", "2.9", "3", "5.5", "6")
    ]

    assert [status(phase) for phase in phases] == [425, 425, 503, 503, None]
    post_only = phases[3]
    assert post_only is not None
    assert post_only.body == {
        "error": rules.POST_ONLY_MODE,
        "code": "post_only_mode",
        "retry_after_seconds": 1,
    }
    assert post_only.headers == {"Retry-After": "1"}
    assert (
        gate_refusal(Fault.RESTART, a_request("POST", "/order", RESTING), after_s="4", seconds="3")
        is None
    )


def test_a_batch_is_post_only_when_all_of_it_is() -> None:
    assert status(gate_refusal(Fault.POST_ONLY, a_request("POST", "/orders", RESTING, BUY))) == 503
    assert gate_refusal(Fault.POST_ONLY, a_request("POST", "/orders", RESTING, RESTING)) is None


def test_the_limit_per_address_is_a_sliding_window() -> None:
    faults = Faults()
    faults.set({Fault.RATE_LIMIT_ADDRESS: FaultOptions(seconds=Decimal(2))})
    gate = Gate(faults)
    refusals = [
        gate.refusal(READ, now_ms=NOW_MS, machine_ms=NOW_MS + 10 * number)
        for number in range(ADDRESS_LIMIT + 1)
    ]

    assert [status(refusal) for refusal in refusals] == [None] * ADDRESS_LIMIT + [429]
    refused = refusals[-1]
    assert refused is not None
    assert (refused.body, refused.headers) == ({"error": "Too Many Requests"}, {"Retry-After": "2"})
    assert status(gate.refusal(READ, now_ms=NOW_MS, machine_ms=NOW_MS + 1_999)) == 429
    assert gate.refusal(READ, now_ms=NOW_MS, machine_ms=NOW_MS + 2_000) is None


def test_the_limit_per_signer_counts_orders_and_says_when_to_retry() -> None:
    faults = Faults()
    faults.set({Fault.RATE_LIMIT_SIGNER: FaultOptions(seconds=Decimal(2))})
    gate = Gate(faults)
    batch = a_request("POST", "/orders", *[BUY] * SIGNER_LIMIT)

    assert gate.refusal(batch, now_ms=NOW_MS, machine_ms=NOW_MS) is None
    refused = gate.refusal(PLACE, now_ms=NOW_MS + 500, machine_ms=NOW_MS + 500)
    assert refused is not None
    assert refused.status == 429
    assert refused.headers == {
        "Retry-After": "2",
        "Poly-RateLimit-Remaining": "0",
        "Poly-RateLimit-Reset": "1790000002",
        "Poly-RateLimit-Tier": "standard",
    }
    assert (
        gate.refusal(
            a_request("POST", "/order", BUY, address="0xOther"), now_ms=NOW_MS, machine_ms=NOW_MS
        )
        is None
    )
    assert gate.refusal(CANCEL, now_ms=NOW_MS, machine_ms=NOW_MS) is None


def test_a_fault_for_one_wallet_affects_it_as_maker_or_as_signer() -> None:
    assert [
        status(gate_refusal(Fault.DISABLED, PLACE, only=only))
        for only in ("0xsafe", "0xSIGNER", "0xother")
    ] == [503, 503, None]


def test_a_refused_request_is_no_chance_for_the_next_fault() -> None:
    faults = Faults()
    faults.set({Fault.DISABLED: FaultOptions(), Fault.CLOSED_ONLY: FaultOptions()})

    Gate(faults).refusal(PLACE, now_ms=NOW_MS, machine_ms=NOW_MS)

    assert faults.strike_counts == {Fault.DISABLED: 1}


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 5)), max_size=60))
def test_no_window_ever_holds_more_than_its_limit(steps: list[tuple[int, int]]) -> None:
    window, now_ms, taken = SlidingWindow(), 0, list[tuple[int, int]]()
    for step_ms, cost in steps:
        now_ms += step_ms
        if window.acquire(cost, limit=6, within_ms=1_000, now_ms=now_ms) == 0:
            taken.append((now_ms, cost))
        assert sum(cost for at, cost in taken if at > now_ms - 1_000) <= 6


@given(st.lists(st.integers(0, 900), min_size=1, max_size=20))
def test_a_request_fits_after_the_returned_wait(steps: list[int]) -> None:
    window, now_ms = SlidingWindow(), 0
    for step_ms in steps:
        now_ms += step_ms
        wait_ms = window.acquire(1, limit=2, within_ms=1_000, now_ms=now_ms)
        if wait_ms:
            now_ms += wait_ms
            assert window.acquire(1, limit=2, within_ms=1_000, now_ms=now_ms) == 0


def test_the_orders_of_a_body_are_parsed_by_maker_side_and_post_only() -> None:
    leg = {"order": {"maker": "0xSafe", "side": "BUY"}, "postOnly": True}
    assert parse_order_summaries(orjson.dumps(leg)) == (RESTING,)
    assert parse_order_summaries(
        orjson.dumps([leg, {"order": {"maker": "0xSafe", "side": "SELL"}}])
    ) == (
        RESTING,
        SELL,
    )


@pytest.mark.parametrize("body", [b"", b"nonsense", b"3", b"[1]"])
def test_a_body_without_orders_is_left_to_the_handler(body: bytes) -> None:
    assert parse_order_summaries(body) == ()
