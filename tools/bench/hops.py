"""Measure one hop, the floor of the path, and the path itself, in one run on one machine.

    python -m tools.bench.hops [--quick] [--loads light,1000] [--only hops|floor|pipeline ...]
                               [--rows N] [--without SERVICE] [--profile SERVICE]

Floor and pipeline each get a stack of their own for every group of loads. Keeps all results in
var/bench and draws the plots. It only measures: goals that are missed fail nothing.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import uvloop
from rich.console import Console

from tools.bench import plots, report, results
from tools.bench.bench_stack import open_bench_stack
from tools.bench.goals import FLOOR, PIPELINE, compare, highest_sustained
from tools.bench.history import FULL_ROWS, QUICK_ROWS, measure_history
from tools.bench.loads import (
    DEFAULT_LOADS,
    HISTORY,
    SECONDS,
    WALLETS,
    Load,
    collect_audiences,
    group_loads,
    parse_loads,
)
from tools.bench.one_hop import Effort, Hop, measure_hops
from tools.bench.options import add_pipeline_options, build_variant
from tools.bench.path import LoadResult, TooSlow, measure
from tools.bench.results import Run
from tools.bench.systems import Floor, Pipeline
from tools.stack.errors import StackError
from tools.stack.settings import REPOSITORY

BENCH_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"
PARTS = HOPS, *_ = ("hops", FLOOR, PIPELINE)
FULL_EFFORT, QUICK_EFFORT = Effort(backlog=20_000, seconds=10), Effort(backlog=1_000, seconds=2)
QUICK_LOADS, QUICK_SECONDS = "light,50,burst-50,wallets-60,history", 4.0


class HopsBench:
    """One run: group of loads after group, each result kept as soon as it is there."""

    def __init__(self, options: argparse.Namespace, console: Console, run: Run) -> None:
        self._options, self._console, self._run = options, console, run
        self._folder = run.file.parent
        self._hops: list[Hop] = []
        self._measured: dict[str, list[LoadResult]] = {}
        self._failures: list[str] = []

    async def measure_all(self) -> None:
        if HOPS in self._options.only:
            await self._measure_hops()
        for group in group_loads(self._options.loads):
            for name in (FLOOR, PIPELINE):
                if name in self._options.only and has_sense(name, group):
                    await self._measure_group(name, group)
        report.show(self._console, self._hops, self._measured)
        for failure in self._failures:
            self._console.print(f"[red]failed: {failure}")

    async def _measure_hops(self) -> None:
        effort = QUICK_EFFORT if self._options.quick else FULL_EFFORT
        async with open_bench_stack(self._folder) as bench:
            self._hops = await measure_hops(
                bench.stack,
                effort,
                find_interpreters(),
                lambda hop: print_hop(self._console, hop),
            )
        self._write()

    async def _measure_group(self, name: str, group: Sequence[Load]) -> None:
        """A failure ends these loads alone: the others may take hours."""
        try:
            if group[0].kind == HISTORY:
                self._measured[HISTORY] = await self._measure_history(group[0])
            else:
                await self._measure_system(name, group)
        except (StackError, TooSlow) as error:
            self._failures.append(f"{name}, {group[0].name}: {error}")
            self._console.print(f"[red]{self._failures[-1]}")
        self._write()

    async def _measure_system(self, name: str, group: Sequence[Load]) -> None:
        rows = self._measured.setdefault(name, [])

        def keep(row: LoadResult) -> None:
            rows.append(row)
            report.print_measured(self._console, name, row)

        async with open_bench_stack(self._folder) as bench:
            system = (
                Floor(bench)
                if name == FLOOR
                else Pipeline(bench, collect_audiences(group), build_variant(self._options))
            )
            async with system:
                await measure(system, bench.venue, group, keep)

    async def _measure_history(self, load: Load) -> list[LoadResult]:
        async with open_bench_stack(self._folder) as bench:
            return await measure_history(
                bench,
                load,
                build_variant(self._options),
                rows=self._options.rows,
                console=self._console,
            )

    def _write(self) -> None:
        self._run.write(
            rows_of_history=self._options.rows,
            hops=[asdict(hop) for hop in self._hops],
            path={name: results.build_rows(rows) for name, rows in self._measured.items()},
            goals=[asdict(goal) | {"verdict": goal.verdict} for goal in compare(self._measured)],
            highest_sustained_copies_per_second={
                name: highest_sustained(rows) for name, rows in self._measured.items()
            },
            failures=self._failures,
        )


def has_sense(name: str, group: Sequence[Load]) -> bool:
    """The floor has neither wallets nor a past."""
    return name == PIPELINE or group[0].kind not in (WALLETS, HISTORY)


def find_interpreters() -> Mapping[str, Path]:
    """The Python interpreter for each package that a contestant needs: this one, or that of the
    benchmark's virtual environment.
    """
    interpreters = {"": Path(sys.executable)}
    for package in ("faststream", "confluent_kafka"):
        if find_spec(package) is not None:
            interpreters[package] = Path(sys.executable)
        elif any(BENCH_PYTHON.parent.parent.glob(f"lib/python*/site-packages/{package}")):
            interpreters[package] = BENCH_PYTHON
    return interpreters


def print_hop(console: Console, hop: Hop) -> None:
    console.print(
        f"{hop.title}: skipped, {hop.skipped}"
        if hop.skipped
        else f"{hop.title}: {hop.per_second:.0f} messages/s"
    )


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.hops",
        description="Measures one hop, the floor of the path, and the path.",
    )
    add_pipeline_options(parser)
    parser.add_argument("--loads", help=f"default: {DEFAULT_LOADS}")
    parser.add_argument("--seconds", type=float, help=f"of a load (default: {SECONDS:.0f})")
    parser.add_argument("--rows", type=int, help=f"old rows (default: {FULL_ROWS})")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="what to measure (default: all)",
    )
    options = parser.parse_args(arguments)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    text = options.loads or (QUICK_LOADS if options.quick else DEFAULT_LOADS)
    try:
        options.loads = parse_loads(text, seconds=seconds)
    except ValueError as error:
        parser.error(str(error))
    options.rows = options.rows or (QUICK_ROWS if options.quick else FULL_ROWS)
    return options


def main() -> None:
    options = parse_options(sys.argv[1:])
    console = Console(width=160)
    run = Run(results.HOPS, quick=options.quick)
    console.print(run.describe())
    try:
        uvloop.run(HopsBench(options, console, run).measure_all())
    except (StackError, TooSlow) as error:
        sys.exit(str(error))
    run.finish(console)
    plots.draw(run, console)


if __name__ == "__main__":
    main()
