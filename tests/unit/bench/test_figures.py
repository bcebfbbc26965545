"""The benchmark's figures, by values."""

import itertools
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.decisions import (
    RecordedSizes,
    SizingFacts,
    Trade,
    TradeContext,
    build_intents,
    reconcile,
    size_copies,
)
from shared.domain.follows import Controls, Follow, group_by_leader
from shared.polymarket.rtds import parse_envelopes, parse_fill, parse_rows
from shared.polymarket.signing import derive_salt
from tools.bench.figures import (
    Latency,
    compute_latency,
    compute_rate,
    cpu_per_thousand,
    evaluate_arrivals,
    is_sustained,
)
from tools.bench.followers import Audience, build_leaders, generate_trades

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_quantile_is_the_nearest_measured_value() -> None:
    assert compute_latency([float(value) for value in range(1, 101)]) == Latency(
        p50=50, p95=95, p99=99, maximum=100
    )


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_quantiles_rise_up_to_the_maximum(times: list[float]) -> None:
    result = compute_latency(times)

    assert result.p50 <= result.p95 <= result.p99 <= result.maximum == max(times)
    assert sum(time <= result.p50 for time in times) * 2 >= len(times)


def test_a_latency_of_no_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        compute_latency([])


def test_each_copy_counts_once_and_unknown_numbers_are_ignored() -> None:
    result = evaluate_arrivals(
        {1: 10.0, 2: 11.0, 3: 12.0}, [(1, 10.010), (2, 11.020), (2, 11.5), (99, 11.6)]
    )

    assert (result.expected, result.arrived, result.duplicates) == (3, 2, 1)
    assert result.latency.maximum == pytest.approx(20)
    assert result.per_second == pytest.approx(1 / 1.010)


@pytest.mark.parametrize(
    ("arrived", "expected"),
    [
        ([(1, 0.1), (2, 0.2)], True),
        ([(1, 0.1)], False),
        ([(1, 0.1), (2, 0.2), (2, 0.3)], False),
        ([(1, 0.1), (2, 3.0)], False),
    ],
    ids=["all in time", "one missing", "one doubled", "one late"],
)
def test_a_rate_is_sustained_where_each_copy_arrives_once_and_in_time(
    arrived: list[tuple[int, float]], expected: bool
) -> None:
    assert is_sustained(evaluate_arrivals({1: 0.0, 2: 0.0}, arrived), max_p99_ms=2000) is expected


def test_cpu_time_is_given_per_thousand_copies() -> None:
    assert cpu_per_thousand({"executor": 3.0}, 2000) == {"executor": 1.5}
    assert cpu_per_thousand({"executor": 3.0}, 0) == {}


def test_a_rate_is_counted_from_the_first_to_the_last_message() -> None:
    assert compute_rate(
        [(0.0, 0), (1.0, 100), (2.0, 300), (3.0, 500), (4.0, 500)]
    ) == pytest.approx(200)


def test_the_orders_of_a_trade_are_known_before_it_is_sent() -> None:
    proxies = [f"0x{number:040x}" for number in range(1, 4)]
    audience = Audience(followers=3)
    group = build_leaders([audience], proxies)[audience]

    for leader, trade in zip(
        group,
        itertools.islice(generate_trades(group, first_number=0, now=lambda: NOW), len(group)),
        strict=True,
    ):
        (envelope,) = parse_envelopes(trade.build_frame(NOW))
        (row,) = parse_rows(envelope)
        fill = parse_fill(row, seen_at=NOW)
        nothing = TradeContext(trade=Trade(trade_id=fill.trade_id, rows={}))
        (part,) = reconcile(nothing, fill, controls_version=1, now=NOW).to_copy
        follows = group_by_leader(
            follow(leader.address, proxy, id_)
            for proxy, id_ in zip(proxies, leader.follows, strict=True)
        )
        known = Controls(version=1, follows_by_leader=follows, mode_by_scope={})
        facts = SizingFacts(controls_by_version={1: known}, recorded=RecordedSizes())
        intents = build_intents(part, fill, known, size_copies(fill, [part], facts, new=[part]))
        assert tuple(derive_salt(intent.intent_id) for intent in intents) == trade.salts


def follow(leader: str, proxy: str, id_: str) -> Follow:
    return Follow(
        follow_id=id_,
        version=1,
        leader=leader,
        proxy=proxy,
        percent=None,
        fixed_usdc=5,
        min_usdc=0,
        max_usdc=5,
        max_slippage_bps=Decimal(100),
        daily_cap_usdc=10,
    )
