"""Compare variants of the pipeline, in turn on one stack.

    python -m tools.bench.lab [--loads 500x15] [--rounds 2] [--worktree NAME=PATH ...]
                              base: a:DATABASE_CONNECTIONS=12

A variant is a name and the variables that its services get; ``--worktree`` runs it from another
checkout, with that one's virtual environment. Each run has a database and topics of its own on the
same warm servers. Keeps all results in var/bench; it only measures.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import asyncpg
import uvloop
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console
from rich.table import Table

from shared.clock import utc_now
from tools.bench.bench_stack import BenchStack, open_bench_stack
from tools.bench.loads import HISTORY, Load, collect_audiences, parse_loads
from tools.bench.machine import describe_commit
from tools.bench.options import add_pipeline_options, build_variant
from tools.bench.path import LoadResult, TooSlow, run_load, warm_up
from tools.bench.report import format_costs, print_measured
from tools.bench.results import LAB, Run
from tools.bench.statements import PRELOAD, StatementCounts
from tools.bench.systems import Checkout, Pipeline, Variant
from tools.stack.errors import StackError
from tools.stack.postgres import ROLE

FULL_LOADS, QUICK_LOADS = "500x20", "50x3"
NUMBERS_PER_RUN = 1_000_000
"""Of leaders' trades: a node must not settle two with one number."""
WARM_UP = parse_loads("300x12")[0]
"""The first run on cold servers, which counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabResult:
    """One load of one variant in one round."""

    variant: str
    round: int
    row: LoadResult
    stages_ms: Mapping[str, Sequence[float]]
    statements: Sequence[Any]


class Lab:
    """The stack on which the variants run in turn."""

    def __init__(self, bench: BenchStack, loads: Sequence[Load], console: Console) -> None:
        self._bench, self._loads, self._console = bench, loads, console
        self._runs = 0

    async def run(
        self, name: str, variant: Variant, *, round_number: int, loads: Sequence[Load] = ()
    ) -> list[LabResult]:
        """Measure all loads, or these, of a variant in a new database and with new topics.

        Raises: TooSlow, StackError.
        """
        self._runs += 1
        loads = loads or self._loads
        await delete_topics(self._bench.stack.kafka_bootstrap_servers)
        database_url = await create_database(self._bench.stack.database_url, f"{ROLE}_{self._runs}")
        audiences = collect_audiences(loads)
        measured = []
        async with Pipeline(
            self._bench,
            audiences,
            variant,
            database_url=database_url,
            first_number=self._runs * NUMBERS_PER_RUN,
        ) as pipeline:
            await warm_up(pipeline, self._bench.venue, audiences)
            for load in loads:
                measured.append(await self._measure(name, round_number, load, pipeline))
        await drop_database(self._bench.stack.database_url, database_url)
        return measured

    async def _measure(
        self, name: str, round_number: int, load: Load, pipeline: Pipeline
    ) -> LabResult:
        counts, since = StatementCounts(pipeline.database_url), utc_now()
        await counts.reset()
        row = await run_load(load, pipeline, self._bench.venue)
        result = LabResult(
            variant=name,
            round=round_number,
            row=row,
            statements=[asdict(each) for each in await counts.fetch_top()],
            stages_ms=await counts.fetch_stages(since),
        )
        print_measured(self._console, f"{name}, round {round_number}", row)
        self._console.print(f"  CPU: {format_costs(row.cpu_per_1000)}")
        for stage, times in result.stages_ms.items():
            shown = " / ".join(f"{each:.1f}" for each in times)
            self._console.print(f"  to {stage}: {shown} ms (p50 / p90 / p99)")
        return result


async def create_database(server_url: str, name: str) -> str:
    """Create an empty database; return its address."""
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
    return f"{server_url.rpartition('/')[0]}/{name}"


async def drop_database(server_url: str, database_url: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        name = database_url.rpartition("/")[2]
        await connection.execute(f"drop database {name} with (force)", timeout=60)
    finally:
        await connection.close()


async def delete_topics(bootstrap_servers: str) -> None:
    """Delete all topics but the broker's own, so that a run finds no messages of another."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if not name.startswith("__")]
        if names:
            await admin.delete_topics(names)
    finally:
        await admin.close()


def parse_variant(text: str, worktrees: Mapping[str, Path], usual: Variant) -> tuple[str, Variant]:
    """The name and the variant of ``name:VARIABLE=value,VARIABLE=value``.

    Raises: ValueError where it is written otherwise, or its worktree cannot be used.
    """
    name, colon, rest = text.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(",") if pair]
    if not name or not colon or not all(variable and sign for variable, sign, _ in pairs):
        raise ValueError(f"{text!r} is no variant: name:VARIABLE=value,VARIABLE=value")
    return name, Variant(
        checkout=Checkout.at(worktrees[name]) if name in worktrees else usual.checkout,
        environment={variable: value for variable, _, value in pairs},
        services=usual.services,
        profiled=usual.profiled,
    )


def parse_worktrees(texts: Sequence[str]) -> dict[str, Path]:
    """Raises: ValueError where one is not written as ``NAME=PATH``."""
    pairs = [text.partition("=") for text in texts]
    if not all(name and path for name, _, path in pairs):
        raise ValueError("a worktree is written as NAME=PATH, with the name of its variant")
    return {name: Path(path) for name, _, path in pairs}


def build_means_table(results: Sequence[LabResult]) -> Table:
    """The means over the rounds, by load and variant, compared with the first variant."""
    table = Table("load", "variant", title="Means over the rounds", title_justify="left")
    for column in ("p50 ms", "p95 ms", "p99 ms", "copies/s", "arrived", "CPU s per 1000"):
        table.add_column(column, justify="right")
    table.add_column("/ first", justify="right")
    table.add_column("CPU by process")
    for load in dict.fromkeys(result.row.load.name for result in results):
        rows_by_variant: dict[str, list[LoadResult]] = {}
        for result in results:
            if result.row.load.name == load:
                rows_by_variant.setdefault(result.variant, []).append(result.row)
        base = fmean(row.cpu for row in next(iter(rows_by_variant.values())))
        for name, rows in rows_by_variant.items():
            table.add_row(load, name, *_format_means(rows, base), _format_costs(rows))
        table.add_section()
    return table


def _format_means(rows: Sequence[LoadResult], base: float) -> tuple[str, ...]:
    cpu = fmean(row.cpu for row in rows)
    arrived = sum(row.result.arrived for row in rows)
    return (
        *(
            f"{fmean(getattr(row.result.latency, quantile) for row in rows):.1f}"
            for quantile in ("p50", "p95", "p99")
        ),
        f"{fmean(row.result.per_second for row in rows):.0f}",
        f"{arrived} of {sum(row.result.expected for row in rows)}",
        f"{cpu:.2f}",
        f"{cpu / base:.2f}" if base else "-",
    )


def _format_costs(rows: Sequence[LoadResult]) -> str:
    return format_costs(
        {
            name: fmean(row.cpu_per_1000.get(name, 0.0) for row in rows)
            for name in rows[0].cpu_per_1000
        }
    )


async def measure_variants(options: argparse.Namespace, console: Console, run: Run) -> None:
    results: list[LabResult] = []
    async with open_bench_stack(run.file.parent, postgres_settings=PRELOAD) as bench:
        lab = Lab(bench, options.loads, console)
        if not options.quick:
            await lab.run("warm-up", options.variants[0][1], round_number=0, loads=[WARM_UP])
        for round_number in range(1, options.rounds + 1):
            for name, variant in options.variants:
                results += await lab.run(name, variant, round_number=round_number)
                _write(run, options, results)
    console.print(build_means_table(results))
    console.print("the statements of each run are in the file")


def _write(run: Run, options: argparse.Namespace, results: Sequence[LabResult]) -> None:
    run.write(
        variants={
            name: {
                **describe_commit(variant.checkout.folder),
                "environment": dict(variant.environment),
            }
            for name, variant in options.variants
        },
        rounds=options.rounds,
        results=[asdict(result) for result in results],
    )


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.lab", description="Compares variants of the pipeline."
    )
    add_pipeline_options(parser)
    parser.add_argument("--loads", help=f"default: {FULL_LOADS}")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--worktree", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("variants", nargs="+", metavar="NAME:[VARIABLE=value,...]")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    text = options.loads or (QUICK_LOADS if options.quick else FULL_LOADS)
    try:
        options.loads = [load for load in parse_loads(text) if load.kind != HISTORY]
        worktrees, usual = parse_worktrees(options.worktree), build_variant(options)
        options.variants = [parse_variant(each, worktrees, usual) for each in options.variants]
        if unused := worktrees.keys() - {name for name, _ in options.variants}:
            raise ValueError(f"no variant is named {', '.join(sorted(unused))}")
    except ValueError as error:
        parser.error(str(error))
    return options


def main() -> None:
    options = parse_options(sys.argv[1:])
    console = Console(width=200)
    run = Run(LAB, quick=options.quick)
    console.print(run.describe())
    try:
        uvloop.run(measure_variants(options, console, run))
    except (StackError, TooSlow) as error:
        sys.exit(str(error))
    run.finish(console)


if __name__ == "__main__":
    main()
