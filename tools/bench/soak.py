"""Copy at a constant rate for a long time: memory, latency and cost, and what copies leave behind.

    python -m tools.bench.soak [--minutes 30] [--rate 300] [--quick]

Memory and CPU of every process are read each 10 seconds. Keeps all results in var/bench, draws the
plots, and says what grew; it only measures: nothing passes or fails.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import uvloop
from rich.console import Console
from rich.table import Table

from shared.clock import utc_now
from tools.bench import plots
from tools.bench.bench_stack import BenchStack, open_bench_stack
from tools.bench.figures import cpu_per_thousand, evaluate_arrivals
from tools.bench.loads import build_rate
from tools.bench.machine import load_average, read_cpu_seconds, read_memory_mb
from tools.bench.options import add_pipeline_options, build_variant
from tools.bench.path import Confirmations, TooSlow, send_trades, wait_at_most, warm_up
from tools.bench.results import SOAK, Run
from tools.bench.sizes import compute_growth_per_thousand, read_sizes
from tools.bench.systems import Pipeline
from tools.bench.trends import Growth, Minute, Sample, compute_growth, judge
from tools.stack.errors import StackError

MINUTES, COPIES_PER_SECOND = 30, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    minutes: int
    copies_per_second: int
    minute_s: float = 60.0
    """How long a minute lasts: in quick runs less."""
    sample_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakResult:
    minutes: Sequence[Minute]
    growth: Sequence[Growth]
    confirmations: Confirmations | None
    left_behind: Mapping[str, Mapping[str, float]]
    """Bytes per 1,000 copies, of tables and of topics."""


class Soak:
    """A run on a pipeline that is up and warm."""

    def __init__(
        self, bench: BenchStack, pipeline: Pipeline, effort: Effort, console: Console, run: Run
    ) -> None:
        self._bench, self._pipeline, self._effort = bench, pipeline, effort
        self._console, self._run = console, run
        self._samples: list[Sample] = []
        self._sent_at: list[dict[int, float]] = []
        """Of each minute: when the frame of each copy was sent."""

    async def measure(self) -> SoakResult:
        venue, since = self._bench.venue, utc_now()
        venue.arrivals.clear()
        before = await self._read_sizes()
        async with self._sampling():
            await self._send_all()
            expected = sum(map(len, self._sent_at))
            await wait_at_most(8, lambda: len(venue.arrivals) >= expected)
        await self._pipeline.settle()
        after = await self._read_sizes()
        minutes = [self._evaluate(number) for number in range(self._effort.minutes)]
        copies = sum(minute.arrived for minute in minutes)
        return SoakResult(
            minutes=minutes,
            growth=compute_growth(self._samples),
            confirmations=await self._pipeline.fetch_confirmations(since),
            left_behind={
                kind: compute_growth_per_thousand(before[kind], after[kind], copies=copies)
                for kind in after
            },
        )

    def write(self, result: SoakResult | None = None) -> None:
        """Keep what is there."""
        self._run.write(
            effort=asdict(self._effort),
            samples=[asdict(sample) for sample in self._samples],
            **(asdict(result) if result else {}),
            verdicts=judge(result.minutes, result.growth) if result else [],
        )

    async def _send_all(self) -> None:
        load = build_rate(self._effort.copies_per_second, seconds=self._effort.minute_s)
        trades, started = self._pipeline.trades(load.audience), time.perf_counter()
        for number in range(self._effort.minutes):
            begins = started + number * self._effort.minute_s
            await asyncio.sleep(max(0.0, begins - time.perf_counter()))
            self._sent_at.append(await send_trades(load, trades, self._bench.venue))
            self._show_progress(number)
            self.write()

    def _show_progress(self, number: int) -> None:
        sent = sum(map(len, self._sent_at))
        memory = sum(self._samples[-1].memory_mb.values()) if self._samples else 0.0
        self._console.print(
            f"minute {number + 1} of {self._effort.minutes}: "
            f"{len(self._bench.venue.arrivals)} of {sent} copies arrived so far, "
            f"{memory:.0f} MB in all, load average {load_average()[0]:.1f}"
        )

    @asynccontextmanager
    async def _sampling(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def _sample(self) -> None:
        started = time.perf_counter()
        while True:
            processes = self._pipeline.processes
            # in a thread: reading many processes would delay the load generator
            memory, cpu = await asyncio.to_thread(
                lambda: (read_memory_mb(processes), read_cpu_seconds(processes))  # noqa: B023
            )
            self._samples.append(
                Sample(second=time.perf_counter() - started, memory_mb=memory, cpu_seconds=cpu)
            )
            await asyncio.sleep(self._effort.sample_s)

    def _evaluate(self, number: int) -> Minute:
        sent_at, arrivals = self._sent_at[number], self._bench.venue.arrivals
        result = (
            evaluate_arrivals(sent_at, arrivals)
            if any(salt in sent_at for salt, _ in arrivals)
            else None
        )
        arrived = result.arrived if result else 0
        return Minute(
            minute=number + 1,
            expected=len(sent_at),
            arrived=arrived,
            duplicates=result.duplicates if result else 0,
            latency=result.latency if result else None,
            cpu_per_1000=cpu_per_thousand(self._count_cpu(number), arrived),
        )

    def _count_cpu(self, number: int) -> dict[str, float]:
        """CPU seconds of each process between the samples next to the minute's begin and end."""
        first, last = (
            min(self._samples, key=lambda sample: abs(sample.second - second))
            for second in (
                number * self._effort.minute_s,
                (number + 1) * self._effort.minute_s,
            )
        )
        return {
            name: last.cpu_seconds[name] - first.cpu_seconds[name] for name in first.cpu_seconds
        }

    async def _read_sizes(self) -> Mapping[str, Mapping[str, int]]:
        sizes = await read_sizes(
            self._pipeline.database_url, stack_folder=self._bench.folder / "stack"
        )
        return {"tables": sizes.tables, "topics": sizes.topics}


async def soak(options: argparse.Namespace, console: Console, run: Run) -> None:
    effort: Effort = options.effort
    load = build_rate(effort.copies_per_second, seconds=effort.minute_s)
    async with (
        open_bench_stack(run.file.parent) as bench,
        Pipeline(bench, [load.audience], build_variant(options)) as pipeline,
    ):
        await warm_up(pipeline, bench.venue, [load.audience])
        measurement = Soak(bench, pipeline, effort, console, run)
        result = await measurement.measure()
        measurement.write(result)
    show(console, result)


def show(console: Console, result: SoakResult) -> None:
    console.print(build_minutes_table(result.minutes))
    console.print(build_growth_table(result.growth))
    for kind, bytes_by_name in result.left_behind.items():
        total = sum(bytes_by_name.values())
        largest = ", ".join(
            f"{name} {size / 1024:.0f}" for name, size in list(bytes_by_name.items())[:8]
        )
        console.print(f"{kind} grew by {total / 1024:.0f} KiB per 1,000 copies: {largest}")
    if result.confirmations:
        console.print(f"{result.confirmations.confirmed} copies were confirmed")
    for verdict in judge(result.minutes, result.growth):
        console.print(verdict)


def build_minutes_table(minutes: Sequence[Minute]) -> Table:
    table = Table("minute", title="Latency and cost by minute", title_justify="left")
    for column in ("arrived", "p50 ms", "p95 ms", "p99 ms", "CPU s per 1000"):
        table.add_column(column, justify="right")
    for each in minutes:
        times = each.latency
        table.add_row(
            str(each.minute),
            f"{each.arrived} of {each.expected}",
            *(
                ("-",) * 3
                if times is None
                else (f"{times.p50:.1f}", f"{times.p95:.1f}", f"{times.p99:.1f}")
            ),
            f"{each.cpu:.2f}",
        )
    return table


def build_growth_table(growth: Sequence[Growth]) -> Table:
    table = Table("process", title="Memory", title_justify="left")
    for column in ("first MB", "last MB", "MB an hour, second half", "grows"):
        table.add_column(column, justify="right")
    for each in growth:
        table.add_row(
            each.process,
            f"{each.first_mb:.1f}",
            f"{each.last_mb:.1f}",
            f"{each.mb_per_hour:+.1f}",
            "yes" if each.grows else "no",
        )
    return table


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.soak", description="Copies at a constant rate for a long time."
    )
    add_pipeline_options(parser)
    parser.add_argument("--minutes", type=int, help=f"default: {MINUTES}")
    parser.add_argument("--rate", type=int, help=f"copies/s (default: {COPIES_PER_SECOND})")
    options = parser.parse_args(arguments)
    options.effort = Effort(
        minutes=options.minutes or (3 if options.quick else MINUTES),
        copies_per_second=options.rate or (50 if options.quick else COPIES_PER_SECOND),
        **({"minute_s": 5.0, "sample_s": 1.0} if options.quick else {}),
    )
    return options


def main() -> None:
    options = parse_options(sys.argv[1:])
    console = Console(width=160)
    run = Run(SOAK, quick=options.quick)
    console.print(run.describe())
    try:
        uvloop.run(soak(options, console, run))
    except (StackError, TooSlow) as error:
        sys.exit(str(error))
    run.finish(console)
    plots.draw(run, console)


if __name__ == "__main__":
    main()
