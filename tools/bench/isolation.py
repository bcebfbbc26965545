"""Measure what one follower's trouble costs the others.

    python -m tools.bench.isolation [--quick]

The same healthy followers copy the same leaders' trades alone, then beside three others: one whose
requests the venue does not answer, one without money, and one with thousands of intents in his
queue; then alone again. Keeps all results in var/bench. It only measures: nothing passes or fails.
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import uvloop
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings
from shared.messages.intents import CopyIntended
from shared.streams.partitioning import Partitioner
from shared.streams.producer import Producer
from shared.streams.settings import KafkaSettings
from tools.bench.bench_stack import open_bench_stack
from tools.bench.figures import GroupArrivals, Latency, compute_latency, evaluate_group
from tools.bench.followers import (
    Audience,
    Leader,
    Trade,
    build_copy_intended,
    build_wallets,
)
from tools.bench.loads import Load
from tools.bench.machine import load_average, read_cpu_seconds
from tools.bench.path import TooSlow, send_trades, wait_at_most, warm_up
from tools.bench.results import Run
from tools.bench.systems import PARTITIONS, Pipeline
from tools.bench.venue import BenchVenue
from tools.stack.errors import StackError

DRAIN_S = 15.0
"""How long late copies of the healthy followers are waited for after the last trade."""
SETTLED_AFTER_S = 10.0
"""How long a matched order takes to be final: its block, two more, and a poll."""
QUEUE_DRAIN_S = 60.0
"""How long the queue may still be worked off before the followers are measured alone again."""
PUBLISHED_TOGETHER = 500

CONFIRMATIONS = """
select (extract(epoch from confirmed_at - answered_at) * 1000)::float as ms
from executor.orders_with_states
where proxy = any(:proxies) and signed_at >= :since
  and confirmed_at is not null and answered_at is not null
"""
JUDGED = "select count(*) as n from preflight.intents where proxy = :proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    healthy: int
    """Followers; among the keys of the benchmark some share a partition with the three."""
    trades_per_second: float
    seconds: float
    queued: int
    """Intents in the queue of one follower."""


FULL = Effort(healthy=40, trades_per_second=1, seconds=60, queued=10_000)
QUICK = Effort(healthy=12, trades_per_second=2, seconds=8, queued=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The proxies of the followers."""

    healthy: tuple[str, ...]
    hanging: str
    broke: str
    queued: str

    @classmethod
    def build(cls, healthy: int) -> "Roles":
        proxies = [proxy for proxy, _ in build_wallets(healthy + 3)]
        hanging, broke, queued = proxies[healthy:]
        return cls(healthy=tuple(proxies[:healthy]), hanging=hanging, broke=broke, queued=queued)

    def neighbours(self) -> frozenset[int]:
        """The numbers of the healthy followers in the partition of the one with the queue."""
        partition = Partitioner().partition
        of_queue = partition(self.queued.encode(), PARTITIONS)
        return frozenset(
            number
            for number, proxy in enumerate(self.healthy)
            if partition(proxy.encode(), PARTITIONS) == of_queue
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What was measured of the healthy followers in one of the three runs."""

    title: str
    copies: Mapping[str, GroupArrivals]
    """By the group of followers: from the leader's frame to the order at the venue."""
    confirmed: Latency | None
    """From the venue's answer to the confirmed order. None: none was confirmed."""
    cpu_seconds: Mapping[str, float]
    judged: int
    """Intents of the follower with the queue that preflight had judged by the end."""


class Isolation:
    """The runs of one benchmark, on a pipeline that is up."""

    def __init__(
        self, pipeline: Pipeline, venue: BenchVenue, engine: AsyncEngine, effort: Effort
    ) -> None:
        self._pipeline, self._venue, self._engine = pipeline, venue, engine
        self._effort, self._roles = effort, Roles.build(effort.healthy)

    async def run_alone(self, title: str) -> Phase:
        return await self._run(title, followers=self._effort.healthy)

    async def run_beside_the_three(self, kafka: KafkaSettings) -> Phase:
        self._venue.hanging = {self._roles.hanging}
        await self._venue.set_broke({self._roles.broke})
        await self._fill_queue(kafka)
        try:
            return await self._run("beside the three", followers=self._effort.healthy + 2)
        finally:
            self._venue.hanging = ()
            await self._venue.set_broke(())

    async def drain_queue(self) -> int:
        """Wait until the queue is worked off, or for ``QUEUE_DRAIN_S``. Returns how many of its
        intents are judged by then.
        """
        deadline = time.perf_counter() + QUEUE_DRAIN_S
        while (judged := await self._count_judged()) < self._effort.queued:
            if time.perf_counter() > deadline:
                break
            await asyncio.sleep(0.5)
        return judged

    async def _fill_queue(self, kafka: KafkaSettings) -> None:
        """Publish the intents of one follower, all at once, as ingest would."""
        everybody = Audience(followers=self._effort.healthy + 3)
        leader: Leader = self._pipeline.leaders(everybody)[0]
        now = utc_now()
        messages: list[CopyIntended] = [
            build_copy_intended(leader, self._effort.healthy + 2, self._roles.queued, number, now)
            for number in range(self._effort.queued)
        ]
        async with Producer(kafka) as producer:
            for start in range(0, len(messages), PUBLISHED_TOGETHER):
                await producer.publish_all(messages[start : start + PUBLISHED_TOGETHER])

    async def _run(self, title: str, *, followers: int) -> Phase:
        load = Load(
            name=title,
            trades_per_second=self._effort.trades_per_second,
            followers=followers,
            seconds=self._effort.seconds,
        )
        trades = list(itertools.islice(self._pipeline.trades(load.audience), load.trades))
        healthy = [replace(trade, salts=trade.salts[: self._effort.healthy]) for trade in trades]
        self._venue.arrivals.clear()
        began, before = utc_now(), read_cpu_seconds(self._pipeline.processes)
        sent_at = await send_trades(load, healthy, self._venue)
        await wait_at_most(DRAIN_S, lambda: self._have_arrived(sent_at))
        after = read_cpu_seconds(self._pipeline.processes)
        await asyncio.sleep(SETTLED_AFTER_S)
        return Phase(
            title=title,
            copies=self._evaluate(healthy, sent_at),
            confirmed=await self._fetch_confirmations(began),
            cpu_seconds={name: after[name] - before[name] for name in before},
            judged=await self._count_judged(),
        )

    def _have_arrived(self, sent_at: Mapping[int, float]) -> bool:
        return len({salt for salt, _ in self._venue.arrivals} & sent_at.keys()) == len(sent_at)

    def _evaluate(
        self, trades: Sequence[Trade], sent_at: Mapping[int, float]
    ) -> Mapping[str, GroupArrivals]:
        near = self._roles.neighbours()
        groups = {
            "all": range(self._effort.healthy),
            "in other partitions": [n for n in range(self._effort.healthy) if n not in near],
            "in the partition of the queue": sorted(near),
        }
        return {
            name: evaluate_group(
                {trade.salts[n]: sent_at[trade.salts[n]] for trade in trades for n in numbers},
                self._venue.arrivals,
            )
            for name, numbers in groups.items()
        }

    async def _fetch_confirmations(self, since: datetime) -> Latency | None:
        async with transaction(self._engine) as connection:
            rows = await fetch_rows(
                connection, CONFIRMATIONS, proxies=list(self._roles.healthy), since=since
            )
        return compute_latency([row.ms for row in rows]) if rows else None

    async def _count_judged(self) -> int:
        async with transaction(self._engine) as connection:
            (row,) = await fetch_rows(connection, JUDGED, proxy=self._roles.queued)
        return int(row.n)


async def measure_all(effort: Effort, console: Console, run: Run) -> None:
    """The three runs, on one stack."""
    phases: list[Phase] = []
    audiences = [Audience(followers=effort.healthy + others) for others in (0, 2, 3)]
    async with open_bench_stack(run.file.parent) as bench:
        kafka = KafkaSettings(
            bootstrap_servers=bench.stack.kafka_bootstrap_servers, partitions=PARTITIONS
        )
        engine = open_engine(DatabaseSettings.model_validate({"url": bench.stack.database_url}))
        async with Pipeline(bench, audiences) as pipeline:
            await warm_up(pipeline, bench.venue, audiences[:2])
            isolation = Isolation(pipeline, bench.venue, engine, effort)
            phases.append(await isolation.run_alone("alone"))
            phases.append(await isolation.run_beside_the_three(kafka))
            judged = await isolation.drain_queue()
            phases.append(await isolation.run_alone("alone again"))
        await engine.dispose()
    show(console, effort, phases, judged)
    run.write(effort=asdict(effort), runs=[asdict(phase) for phase in phases])


def show(console: Console, effort: Effort, phases: Sequence[Phase], judged: int) -> None:
    console.print(build_table(phases))
    beside = phases[1]
    console.print(
        f"of {effort.queued} queued intents {beside.judged} were judged when the run beside them "
        f"ended, {judged} before the last run; load average after {load_average()}"
    )


def build_table(phases: Sequence[Phase]) -> Table:
    table = Table(
        "run",
        "healthy followers",
        title="From the leader's frame to the order at the venue, and from its answer to confirmed",
        title_justify="left",
    )
    for column in ("p50 ms", "p95 ms", "p99 ms", "max ms", "arrived", "p50 / alone", "p99 / alone"):
        table.add_column(column, justify="right")
    alone = phases[0]
    for phase in phases:
        for name, group in phase.copies.items():
            table.add_row(
                phase.title,
                name,
                *_format(group.latency),
                f"{group.arrived} of {group.expected}",
                *_ratios(group.latency, alone.copies[name].latency),
            )
        table.add_row(
            phase.title,
            "answered to confirmed",
            *_format(phase.confirmed),
            "",
            *_ratios(phase.confirmed, alone.confirmed),
        )
        table.add_section()
    return table


def _format(times: Latency | None) -> tuple[str, ...]:
    if times is None:
        return ("-",) * 4
    return tuple(f"{each:.1f}" for each in (times.p50, times.p95, times.p99, times.maximum))


def _ratios(times: Latency | None, alone: Latency | None) -> tuple[str, str]:
    if times is None or alone is None:
        return "-", "-"
    return f"{times.p50 / alone.p50:.2f}", f"{times.p99 / alone.p99:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.isolation",
        description="Measures what one follower's trouble costs the others.",
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds, to check that it runs")
    options = parser.parse_args()
    console = Console(width=160)
    run = Run("isolation", quick=options.quick)
    console.print(run.describe())
    try:
        uvloop.run(measure_all(QUICK if options.quick else FULL, console, run))
    except (StackError, TooSlow) as error:
        sys.exit(str(error))
    run.finish(console)


if __name__ == "__main__":
    main()
