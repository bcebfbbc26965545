"""How long does a copy take from the leader's frame to its order at the venue, and how many a
second? The same for floor and pipeline.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tools.bench.figures import Arrivals, arrivals, keeps_up, per_thousand
from tools.bench.followers import Trade
from tools.bench.loads import MOST_P99_MS, Load, Plan
from tools.bench.machine import cpu_seconds
from tools.bench.venue import BenchVenue

DRAIN_S = 8.0
"""How long late orders are waited for."""
QUIET_S = 2.0
"""Between two loads, for what follows an order: trades, confirmations, commits."""


class System(Protocol):
    """What is measured: floor or pipeline, running."""

    name: str

    @property
    def processes(self) -> Mapping[str, int]:
        """Names and pids of everything that works for it."""
        ...

    def trades(self, followers: int) -> Iterator[Trade]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    load: Load
    result: Arrivals
    cpu_per_1000: Mapping[str, float]
    """CPU seconds of each process for 1000 copies, what follows their orders included."""

    @property
    def sustained(self) -> bool:
        return keeps_up(self.result, most_p99_ms=MOST_P99_MS)


class TooSlow(Exception):
    """Not even the warm-up came through, or nothing of a load."""


async def measure(
    system: System, venue: BenchVenue, plan: Plan, tell: Callable[[Measured], None]
) -> list[Measured]:
    """All of the plan, after a warm-up by one trade for each number of followers. Raises: TooSlow."""
    await warm_up(system, venue, plan.sizes)
    measured = []
    for load in plan.fixed:
        measured.append(await under(load, system, venue))
        tell(measured[-1])
    for load in plan.steps:
        measured.append(await under(load, system, venue))
        tell(measured[-1])
        if not measured[-1].sustained:
            break
    return measured


async def warm_up(system: System, venue: BenchVenue, sizes: Sequence[int]) -> None:
    """Connections, API keys, code that has never run. Some copies may be refused meanwhile, as too
    old. Raises: TooSlow if none comes.
    """
    for followers in sizes:
        load = Load(name="warm-up", trades_per_second=2, followers=followers, seconds=2.5)
        await under(load, system, venue, drain_s=20)


async def under(
    load: Load, system: System, venue: BenchVenue, *, drain_s: float = DRAIN_S
) -> Measured:
    trades = list(itertools.islice(system.trades(load.followers), load.trades))
    venue.arrived.clear()
    before = cpu_seconds(system.processes)
    sent_at = await _send(load, trades, venue)
    await _within(drain_s, lambda: len(venue.arrived) >= len(sent_at))
    if not venue.arrived:
        raise TooSlow(f"{system.name}, {load.name}: no order came")
    result = arrivals(sent_at, venue.arrived)
    await asyncio.sleep(QUIET_S)
    after = cpu_seconds(system.processes)
    used = {name: after[name] - before[name] for name in before}
    return Measured(load=load, result=result, cpu_per_1000=per_thousand(used, result.arrived))


async def _send(load: Load, trades: Sequence[Trade], venue: BenchVenue) -> dict[int, float]:
    """Send each trade at its time, whether or not the copies of the one before have come."""
    started, sent_at = time.perf_counter(), {}
    for number, trade in enumerate(trades):
        await asyncio.sleep(
            max(0.0, started + number / load.trades_per_second - time.perf_counter())
        )
        at = await venue.say(trade.frame)
        sent_at.update(dict.fromkeys(trade.salts, at))
    return sent_at


async def _within(seconds: float, is_done: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + seconds
    # what is waited for is counted in other tasks
    while not is_done() and time.perf_counter() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def wait_for(condition: Callable[[], bool], what: str, *, within_s: float = 60) -> None:
    """Raises: TooSlow."""
    await _within(within_s, condition)
    if not condition():
        raise TooSlow(f"not within {within_s:.0f} s: {what}")
