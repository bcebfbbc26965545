"""Measure the path from the leader's frame to the order at the venue, of floor or pipeline."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tools.bench.figures import Arrivals, cpu_per_thousand, evaluate_arrivals, is_sustained
from tools.bench.followers import Trade
from tools.bench.loads import MAX_P99_MS, Load, Plan
from tools.bench.machine import read_cpu_seconds
from tools.bench.venue import BenchVenue

DRAIN_TIMEOUT_S = 8.0
"""How long late orders are waited for."""
PAUSE_S = 2.0
"""Between two loads, for the work after an order: trades, confirmations, commits."""


class System(Protocol):
    """The running system that is measured: floor or pipeline."""

    name: str

    @property
    def processes(self) -> Mapping[str, int]:
        """Names and pids of its processes and of those that it uses."""
        ...

    def trades(self, followers: int) -> Iterator[Trade]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    load: Load
    result: Arrivals
    cpu_per_1000: Mapping[str, float]
    """CPU seconds of each process per 1000 copies, including the work after their orders."""

    @property
    def is_sustained(self) -> bool:
        return is_sustained(self.result, max_p99_ms=MAX_P99_MS)


class TooSlow(Exception):
    """No order arrived in time."""


async def measure(
    system: System, venue: BenchVenue, plan: Plan, report: Callable[[LoadResult], None]
) -> list[LoadResult]:
    """Measure every load of the plan, after a warm-up. Raises: TooSlow."""
    await warm_up(system, venue, plan.sizes)
    measured = []
    for load in plan.fixed:
        measured.append(await run_load(load, system, venue))
        report(measured[-1])
    for load in plan.steps:
        measured.append(await run_load(load, system, venue))
        report(measured[-1])
        if not measured[-1].is_sustained:
            break
    return measured


async def warm_up(system: System, venue: BenchVenue, sizes: Sequence[int]) -> None:
    """Open connections, create API keys and run all code once.

    Some copies may be refused as too old.

    Raises: TooSlow where no order arrives.
    """
    for followers in sizes:
        load = Load(name="warm-up", trades_per_second=2, followers=followers, seconds=2.5)
        await run_load(load, system, venue, drain_s=20)


async def run_load(
    load: Load, system: System, venue: BenchVenue, *, drain_s: float = DRAIN_TIMEOUT_S
) -> LoadResult:
    trades = list(itertools.islice(system.trades(load.followers), load.trades))
    venue.arrivals.clear()
    before = read_cpu_seconds(system.processes)
    sent_at = await send_trades(load, trades, venue)
    await wait_at_most(drain_s, lambda: len(venue.arrivals) >= len(sent_at))
    if not venue.arrivals:
        raise TooSlow(f"{system.name}, {load.name}: no order arrived")
    result = evaluate_arrivals(sent_at, venue.arrivals)
    await asyncio.sleep(PAUSE_S)
    after = read_cpu_seconds(system.processes)
    used = {name: after[name] - before[name] for name in before}
    return LoadResult(load=load, result=result, cpu_per_1000=cpu_per_thousand(used, result.arrived))


async def send_trades(load: Load, trades: Sequence[Trade], venue: BenchVenue) -> dict[int, float]:
    """Send each trade at its time, whether or not the copies of earlier ones have arrived. Returns
    when each copy's frame was sent, by its salt.
    """
    started, sent_at = time.perf_counter(), {}
    for number, trade in enumerate(trades):
        await asyncio.sleep(
            max(0.0, started + number / load.trades_per_second - time.perf_counter())
        )
        at = await venue.send_frame(trade.frame)
        sent_at.update(dict.fromkeys(trade.salts, at))
    return sent_at


async def wait_at_most(seconds: float, is_done: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + seconds
    # other tasks change what the condition reads
    while not is_done() and time.perf_counter() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def wait_for(condition: Callable[[], bool], what: str, *, within_s: float = 60) -> None:
    """Raises: TooSlow."""
    await wait_at_most(within_s, condition)
    if not condition():
        raise TooSlow(f"not within {within_s:.0f} s: {what}")
