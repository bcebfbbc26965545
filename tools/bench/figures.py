"""Compute latencies, rates and CPU use from measured times. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

QUANTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds."""

    p50: float
    p95: float
    p99: float
    maximum: float

    def subtract(self, other: "Latency") -> "Latency":
        """What a part adds to a path that takes ``other`` without it."""
        return Latency(
            p50=self.p50 - other.p50,
            p95=self.p95 - other.p95,
            p99=self.p99 - other.p99,
            maximum=self.maximum - other.maximum,
        )


def compute_latency(milliseconds: Sequence[float]) -> Latency:
    """Raises: ValueError where nothing was measured."""
    if not milliseconds:
        raise ValueError("nothing was measured")
    ordered = sorted(milliseconds)
    p50, p95, p99 = (nearest_rank(ordered, percent) for percent in QUANTILES)
    return Latency(p50=p50, p95=p95, p99=p99, maximum=ordered[-1])


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that at least ``percent`` of 100 values do not exceed (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, rank - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The orders that arrived, compared with the expected copies of a load."""

    expected: int
    arrived: int
    duplicates: int
    latency: Latency
    """From the leader's frame sent to the order's arrival at the venue."""
    per_second: float
    """Of arrivals, from the first to the last; 0 where there was only one."""


def evaluate_arrivals(
    sent_at: Mapping[int, float], arrived_at: Sequence[tuple[int, float]]
) -> Arrivals:
    """Compare arrivals with what was sent. Times are seconds.

    ``sent_at``: when the frame was sent, by the number that its copy must carry. Other numbers are
    ignored.

    Raises: ValueError where nothing arrived.
    """
    first: dict[int, float] = {}
    doubled = 0
    for number, at in arrived_at:
        if number not in sent_at:
            continue
        doubled += number in first
        first.setdefault(number, at)
    waits = [(at - sent_at[number]) * 1000 for number, at in first.items()]
    times = sorted(first.values())
    span = times[-1] - times[0] if times else 0.0
    rate = (len(times) - 1) / span if span > 0 else 0.0
    return Arrivals(
        expected=len(sent_at),
        arrived=len(first),
        duplicates=doubled,
        latency=compute_latency(waits),
        per_second=rate,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupArrivals:
    """The copies of a group of followers that arrived, of those expected."""

    expected: int
    arrived: int
    latency: Latency | None
    """Of those that arrived; the others count in no quantile. None: there are none."""


def evaluate_group(
    sent_at: Mapping[int, float], arrived_at: Sequence[tuple[int, float]]
) -> GroupArrivals:
    """Compare arrivals, of this group and others, with what was sent for it. As
    ``evaluate_arrivals`` otherwise.
    """
    if not any(number in sent_at for number, _ in arrived_at):
        return GroupArrivals(expected=len(sent_at), arrived=0, latency=None)
    result = evaluate_arrivals(sent_at, arrived_at)
    return GroupArrivals(expected=result.expected, arrived=result.arrived, latency=result.latency)


def is_complete(result: Arrivals) -> bool:
    """Whether every copy arrived, once."""
    return result.arrived == result.expected and result.duplicates == 0


def is_sustained(result: Arrivals, *, max_p99_ms: float) -> bool:
    """Whether every copy arrived, once and within the limit."""
    return is_complete(result) and result.latency.p99 <= max_p99_ms


def cpu_per_thousand(cpu_seconds: Mapping[str, float], copies: int) -> dict[str, float]:
    """CPU seconds of each process per 1000 copies."""
    return (
        {name: seconds * 1000 / copies for name, seconds in cpu_seconds.items()} if copies else {}
    )


def compute_rate(progress: Sequence[tuple[float, int]]) -> float:
    """Messages per second, from the first observation of any to the first observation of all.

    ``progress``: pairs of seconds and the number of messages that were there.
    """
    last = progress[-1][1]
    after = [
        (at, done) for (_, before), (at, done) in pairwise([(0.0, 0), *progress]) if done > before
    ]
    (start, count), (end, _) = after[0], next(point for point in after if point[1] == last)
    return (last - count) / (end - start) if end > start else 0.0
