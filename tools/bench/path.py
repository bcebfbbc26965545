"""Measure the path from the leader's frame to the order at the venue, of floor or pipeline."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from shared.clock import utc_now
from tools.bench.figures import (
    Arrivals,
    Latency,
    cpu_per_thousand,
    evaluate_arrivals,
    is_complete,
    is_sustained,
)
from tools.bench.followers import Audience, Trade
from tools.bench.loads import RATE, Load, build_warm_up
from tools.bench.machine import load_average, read_cpu_seconds, read_memory_mb
from tools.bench.venue import BenchVenue


class TooSlow(Exception):
    """No order arrived in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmations:
    """What became of the copies of a load after their orders' arrival, or instead of it."""

    confirmed: int
    latency: Latency | None
    """From the venue's answer to the confirmed order. None: none was confirmed."""
    unfilled: Mapping[str, int] = field(default_factory=dict)
    """How many copies have no fill, by the reason of their refusal or end, else by their state."""


class System(Protocol):
    """The running system that is measured: floor or pipeline."""

    name: str

    @property
    def processes(self) -> Mapping[str, int]:
        """Names and pids of its processes and of those that it uses."""
        ...

    @property
    def simulators(self) -> Mapping[str, int]:
        """Names and pids of what stands in for the outside world: its CPU is not the system's."""
        ...

    def trades(self, audience: Audience) -> Iterator[Trade]: ...

    async def settle(self) -> None:
        """Wait for the work after the orders, until it is done or too late."""
        ...

    async def fetch_confirmations(self, since: datetime) -> Confirmations | None:
        """Of the orders of the trades that were seen since then. None: it cannot be seen."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    load: Load
    result: Arrivals
    cpu_per_1000: Mapping[str, float]
    """CPU seconds of each process per 1000 copies, including the work after their orders."""
    simulators_cpu_per_1000: Mapping[str, float] = field(default_factory=dict)
    """The same of the load generator with its venue, and of the node; in no sum."""
    memory_mb: Mapping[str, float] = field(default_factory=dict)
    """Of each process, after the load."""
    confirmations: Confirmations | None = None
    load_average: float = 0.0
    """After the load."""

    @property
    def is_sustained(self) -> bool:
        return is_sustained(self.result, max_p99_ms=self.load.max_p99_ms)

    @property
    def is_complete(self) -> bool:
        return is_complete(self.result)

    @property
    def cpu_of_whole_copies(self) -> float | None:
        """``cpu`` until the copies are confirmed; None: not every copy arrived once and was
        confirmed, so that it would be that of less work.
        """
        confirmed = self.confirmations.confirmed if self.confirmations else 0
        return self.cpu if self.is_complete and confirmed == self.result.arrived else None

    @property
    def cpu(self) -> float:
        """CPU seconds per 1000 copies, of the system and all that it uses."""
        return sum(self.cpu_per_1000.values())


async def measure(
    system: System,
    venue: BenchVenue,
    loads: Sequence[Load],
    report: Callable[[LoadResult], None],
) -> list[LoadResult]:
    """Measure the loads in their order, after a warm-up. A rate that is not sustained ends the
    rising series: the rates after it are left out. Raises: TooSlow.
    """
    await warm_up(system, venue, dict.fromkeys(load.audience for load in loads))
    measured: list[LoadResult] = []
    too_high = False
    for load in loads:
        if load.kind == RATE and too_high:
            continue
        measured.append(await run_load(load, system, venue))
        report(measured[-1])
        too_high = too_high or (load.kind == RATE and not measured[-1].is_sustained)
    return measured


async def warm_up(system: System, venue: BenchVenue, audiences: Iterable[Audience]) -> None:
    """Open connections, create API keys and run all code once.

    Raises: TooSlow where no order arrives.
    """
    for audience in audiences:
        await run_load(build_warm_up(audience), system, venue)


async def run_load(load: Load, system: System, venue: BenchVenue) -> LoadResult:
    """Send a load's trades and wait for their orders, and for the work after these.

    Raises: TooSlow where nobody listens, or no order arrives.
    """
    # After a silence of half a minute the feed is opened anew.
    await wait_for(lambda: venue.has_listeners, f"{system.name} listens to the activity feed")
    venue.arrivals.clear()
    since = utc_now()
    async with _count_cpu(system) as (used, used_by_simulators):
        sent_at = await send_trades(load, system.trades(load.audience), venue)
        await wait_at_most(load.late_s, lambda: len(venue.arrivals) >= len(sent_at))
        if not venue.arrivals:
            raise TooSlow(f"{system.name}, {load.name}: no order arrived")
        in_time = evaluate_arrivals(sent_at, venue.arrivals)
        await system.settle()
    at_end = evaluate_arrivals(sent_at, venue.arrivals)
    copies = at_end.arrived  # those that came too late were paid for too
    return LoadResult(
        load=load,
        result=replace(in_time, duplicates=at_end.duplicates),
        cpu_per_1000=cpu_per_thousand(used, copies),
        simulators_cpu_per_1000=cpu_per_thousand(used_by_simulators, copies),
        memory_mb=read_memory_mb(system.processes),
        confirmations=await system.fetch_confirmations(since),
        load_average=load_average()[0],
    )


@asynccontextmanager
async def _count_cpu(system: System) -> AsyncIterator[tuple[dict[str, float], dict[str, float]]]:
    """CPU seconds of the block, by process, once it has ended: of the system and of what stands in
    for the outside world.
    """
    used: dict[str, float] = {}
    used_by_simulators: dict[str, float] = {}
    processes, simulators = system.processes, system.simulators
    before = read_cpu_seconds({**processes, **simulators})
    generator = time.process_time()
    yield used, used_by_simulators
    after = read_cpu_seconds({**processes, **simulators})
    used.update({name: after[name] - before[name] for name in processes})
    used_by_simulators.update({name: after[name] - before[name] for name in simulators})
    used_by_simulators["load generator and venue"] = time.process_time() - generator


async def send_trades(load: Load, trades: Iterable[Trade], venue: BenchVenue) -> dict[int, float]:
    """Send each trade at its time, dated then, whether or not the copies of earlier ones have
    arrived. Returns when each copy's frame was sent, by its salt.
    """
    started, sent_at = time.perf_counter(), {}
    for number, trade in enumerate(itertools.islice(trades, load.trades)):
        await asyncio.sleep(
            max(0.0, started + number / load.trades_per_second - time.perf_counter())
        )
        at = await venue.send_frame(trade.build_frame(utc_now()))
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
