"""Percentiles, latencies and slippage, against hand-counted values and their definitions."""

from datetime import datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cli.demo.figures import (
    END_TO_END,
    MOMENTS,
    STAGES,
    OrderRecord,
    compute_latency,
    compute_slippage,
    percentile,
)
from shared.domain.money import Side
from tests.builders import NOON, ORDER_HASH, PROXY, seconds, shares, usdc


def an_order(
    *,
    at: dict[str, datetime] | None = None,
    side: Side = Side.BUY,
    paid: str = "5",
    got: str = "10",
) -> OrderRecord:
    return OrderRecord(
        intent_id="i",
        order_hash=ORDER_HASH,
        proxy=PROXY,
        side=side,
        state="confirmed",
        reason="",
        leader_price=Decimal("0.50"),
        shares=shares(got),
        usdc=usdc(paid),
        at=at or {},
    )


def test_percentiles_are_existing_values() -> None:
    ordered = list(range(1, 101))

    assert [percentile(ordered, hundredths) for hundredths in (50, 95, 99, 100)] == [
        50,
        95,
        99,
        100,
    ]
    assert percentile([7], 50) == percentile([7], 99) == 7
    assert percentile([1, 9], 50) == 1
    assert percentile([1, 9], 95) == 9


@given(st.lists(st.integers(), min_size=1).map(sorted), st.integers(1, 100))
def test_at_least_so_many_values_are_no_greater(ordered: list[int], hundredths: int) -> None:
    result = percentile(ordered, hundredths)

    assert result in ordered
    assert sum(value <= result for value in ordered) * 100 >= hundredths * len(ordered)


def test_a_stage_is_measured_on_the_orders_that_passed_it() -> None:
    passed = [
        an_order(at={"seen": NOON, "posted": NOON + timedelta(milliseconds=number)})
        for number in (30, 10, 20)
    ]
    stopped = an_order(at={"seen": NOON})

    result = compute_latency([*passed, stopped], "seen", "posted")

    assert result is not None
    assert (result.count, result.p50, result.p95, result.p99) == (3, 20_000, 30_000, 30_000)


def test_a_stage_that_no_order_passed_has_no_latency() -> None:
    assert compute_latency([an_order(at={"seen": NOON})], "seen", "confirmed") is None


def test_the_stages_lead_from_the_first_moment_to_the_last() -> None:
    assert [start for start, _ in STAGES] + [STAGES[-1][1]] == list(MOMENTS)
    assert all(start == "seen" and end in MOMENTS for start, end in END_TO_END)


def test_the_stages_of_one_copy_add_up_to_its_whole_time() -> None:
    order = an_order(at={name: NOON + seconds(number**2) for number, name in enumerate(MOMENTS)})
    whole = compute_latency([order], "seen", "confirmed")

    parts = [
        result.p50 for stage in STAGES if (result := compute_latency([order], *stage)) is not None
    ]

    assert whole is not None
    assert sum(parts) == whole.p50


def test_a_worse_fill_is_positive_on_both_sides() -> None:
    bought_dearer = compute_slippage([an_order(paid="5.05")])
    sold_cheaper = compute_slippage([an_order(side=Side.SELL, paid="4.95")])
    bought_cheaper = compute_slippage([an_order(paid="4.95")])

    assert bought_dearer is not None
    assert sold_cheaper is not None
    assert bought_cheaper is not None
    assert (bought_dearer.p50, sold_cheaper.p50, bought_cheaper.p50) == (
        Decimal("100.00"),
        Decimal("100.00"),
        Decimal("-100.00"),
    )


def test_only_fills_have_a_price() -> None:
    assert compute_slippage([an_order(paid="0", got="0")]) is None

    result = compute_slippage([an_order(paid="0", got="0"), an_order()])

    assert result is not None
    assert (result.count, str(result.p50)) == (1, "0.00")
