"""What do the measured times say? Pure."""

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
    worst: float

    def minus(self, other: "Latency") -> "Latency":
        """What a part adds to a way that takes ``other`` without it."""
        return Latency(
            p50=self.p50 - other.p50,
            p95=self.p95 - other.p95,
            p99=self.p99 - other.p99,
            worst=self.worst - other.worst,
        )


def latency(milliseconds: Sequence[float]) -> Latency:
    """Raises: ValueError where nothing was measured: no number would be true."""
    if not milliseconds:
        raise ValueError("nothing was measured")
    ordered = sorted(milliseconds)
    p50, p95, p99 = (quantile(ordered, percent) for percent in QUANTILES)
    return Latency(p50=p50, p95=p95, p99=p99, worst=ordered[-1])


def quantile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that at least ``percent`` of 100 values do not exceed (nearest rank)."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, rank - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What became of the copies that a load called for."""

    expected: int
    arrived: int
    doubled: int
    latency: Latency
    """From the leader's frame sent to the order's arrival at the venue."""
    per_second: float
    """Of arrivals, from the first to the last; 0 where there was only one."""


def arrivals(sent_at: Mapping[int, float], arrived_at: Sequence[tuple[int, float]]) -> Arrivals:
    """``sent_at``: when the frame went out, by the number that its copy must carry. Seconds.
    Numbers that nobody sent do not count.

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
        doubled=doubled,
        latency=latency(waits),
        per_second=rate,
    )


def keeps_up(result: Arrivals, *, most_p99_ms: float) -> bool:
    """Whether everything came, once, and soon enough."""
    return (
        result.arrived == result.expected
        and result.doubled == 0
        and result.latency.p99 <= most_p99_ms
    )


def per_thousand(cpu_seconds: Mapping[str, float], copies: int) -> dict[str, float]:
    """CPU seconds of each process for 1000 copies."""
    return (
        {name: seconds * 1000 / copies for name, seconds in cpu_seconds.items()} if copies else {}
    )


def rate_between(progress: Sequence[tuple[float, int]]) -> float:
    """Messages a second from the first sight of any to the first sight of all; ``progress``:
    (seconds, how many were there).
    """
    last = progress[-1][1]
    after = [
        (at, done) for (_, before), (at, done) in pairwise([(0.0, 0), *progress]) if done > before
    ]
    (began, had), (ended, _) = after[0], next(point for point in after if point[1] == last)
    return (last - had) / (ended - began) if ended > began else 0.0
