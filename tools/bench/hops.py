"""Measure one hop, the floor of the path, and the path itself, in one run on one machine.

    python -m tools.bench.hops [--quick] [--only hops|floor|pipeline ...] [--profile SERVICE]

Writes var/bench/hops.json. It only measures: nothing passes or fails.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import uvloop
from rich.console import Console

from shared.clock import utc_now
from tools.bench import report
from tools.bench.loads import FULL, TINY, Plan
from tools.bench.machine import describe_machine, load_average
from tools.bench.one_hop import Effort, Hop, measure_hops
from tools.bench.path import LoadResult, TooSlow, measure, wait_for
from tools.bench.systems import SERVICES, Floor, Pipeline
from tools.bench.venue import BenchVenue
from tools.stack.errors import StackError
from tools.stack.local import LocalStack
from tools.stack.ports import Ports
from tools.stack.settings import REPOSITORY, StackSettings

RESULT = REPOSITORY / "var" / "bench" / "hops.json"
BENCH_PYTHON = REPOSITORY / ".venv-bench" / "bin" / "python"
PARTS = ("hops", "floor", "pipeline")
FULL_EFFORT, QUICK_EFFORT = Effort(backlog=20_000, seconds=10), Effort(backlog=1_000, seconds=2)
TRAINING_TIMEOUT_S = 120


async def bench(options: argparse.Namespace, console: Console, folder: Path) -> None:
    machine = {
        "at": utc_now().isoformat(timespec="seconds"),
        "load_average_before": load_average(),
        **describe_machine(),
    }
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, load average before {load_average()}"
    )
    hops: list[Hop] = []
    measured: dict[str, list[LoadResult]] = {}
    async with (
        LocalStack(build_settings(folder), parts=("kafka", "postgres")) as stack,
        BenchVenue(Ports().reserve_free()) as venue,
    ):
        await wait_for(
            lambda: not is_training(stack),
            "Kafka's ahead-of-time cache is created",
            within_s=TRAINING_TIMEOUT_S,
        )
        if "hops" in options.only:
            hops = await measure_hops(
                stack,
                QUICK_EFFORT if options.quick else FULL_EFFORT,
                find_interpreters(),
                lambda hop: print_hop(console, hop),
            )
        for name in (name for name in options.only if name != "hops"):
            measured[name] = await measure_system(name, options, console, stack, venue, folder)
            # so that an interrupted run keeps its results
            report.write(RESULT, machine, hops, measured)
    report.show(console, hops, measured)
    report.write(RESULT, machine, hops, measured)
    console.print(f"written to {RESULT.relative_to(REPOSITORY)}")


async def measure_system(
    name: str,
    options: argparse.Namespace,
    console: Console,
    stack: LocalStack,
    venue: BenchVenue,
    folder: Path,
) -> list[LoadResult]:
    plan: Plan = TINY if options.quick else FULL
    system: Floor | Pipeline = Floor(stack, venue, folder)
    if name == "pipeline":
        system = Pipeline(
            stack, venue, folder, sizes=plan.sizes, now=utc_now, profiled=options.profile
        )
    async with system:
        rows = await measure(system, venue, plan, lambda row: print_measured(console, name, row))
    if isinstance(system, Pipeline) and options.profile:
        file = system.profile_file.relative_to(REPOSITORY)
        console.print(f"profile of {options.profile}: {file}")
    return rows


def build_settings(folder: Path) -> StackSettings:
    """The settings of the benchmark's own stack: durable, with fully compiled Java."""
    return StackSettings(
        folder=folder / "stack",
        kafka_bootstrap_servers=None,
        database_url=None,
        brokers=1,
        quick_compile=False,
        durable=True,
        mining="interval",
    )


def is_training(stack: LocalStack) -> bool:
    return any(running.name == "kafka-training" for running in stack.supervisor.running)


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


def print_measured(console: Console, name: str, row: LoadResult) -> None:
    times, result = row.result.latency, row.result
    latency = f"p50 {times.p50:.1f}, p95 {times.p95:.1f}, p99 {times.p99:.1f} ms"
    arrived = f"{result.arrived} of {result.expected}, {result.per_second:.0f}/s"
    console.print(
        f"{name}, {row.load.name}: {latency}; {arrived}; load average {load_average()[0]:.1f}"
    )


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
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny loads, to check that it runs; the figures mean nothing",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="what to measure (default: all)",
    )
    parser.add_argument(
        "--profile",
        choices=SERVICES,
        default="",
        help="also sample where this service spends CPU time",
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_options(sys.argv[1:])
    console = Console(width=160)
    try:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        uvloop.run(bench(options, console, RESULT.parent))
    except (StackError, TooSlow) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
