"""What does a hop cost, what the whole path, and how far is that from the least that it could cost?
One run, one machine.

    python -m tools.bench.hops [--quick] [--only hops|floor|pipeline ...] [--profile SERVICE]

Writes var/bench/hops.json. Measures only: nothing here passes or fails.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import uvloop
from rich.console import Console

from shared.clock import utc_now
from tools.bench import report
from tools.bench.loads import FULL, TINY, Plan
from tools.bench.machine import facts, load_average
from tools.bench.one_hop import Effort, Hop, measure_hops
from tools.bench.path import Measured, TooSlow, measure, wait_for
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
TRAINED_WITHIN_S = 120


async def bench(options: argparse.Namespace, console: Console, folder: Path) -> None:
    machine = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average_before": load_average(),
        **facts(),
    }
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, load average before {load_average()}"
    )
    hops: list[Hop] = []
    measured: dict[str, list[Measured]] = {}
    async with (
        LocalStack(settings_for(folder), parts=("kafka", "postgres")) as stack,
        BenchVenue(Ports().reserve_free()) as venue,
    ):
        await wait_for(
            lambda: not is_training(stack),
            "Kafka's ahead-of-time cache is made",
            within_s=TRAINED_WITHIN_S,
        )
        if "hops" in options.only:
            hops = await measure_hops(
                stack,
                QUICK_EFFORT if options.quick else FULL_EFFORT,
                interpreters(),
                lambda hop: told_hop(console, hop),
            )
        for name in (name for name in options.only if name != "hops"):
            measured[name] = await measure_system(name, options, console, stack, venue, folder)
            report.write(
                RESULT, machine, hops, measured
            )  # a run that is broken off keeps what it has
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
) -> list[Measured]:
    plan: Plan = TINY if options.quick else FULL
    system: Floor | Pipeline = Floor(stack, venue, folder)
    if name == "pipeline":
        system = Pipeline(
            stack, venue, folder, sizes=plan.sizes, now=utc_now, profiled=options.profile
        )
    async with system:
        rows = await measure(system, venue, plan, lambda row: told(console, name, row))
    if isinstance(system, Pipeline) and options.profile:
        console.print(
            f"where {options.profile} spends its time: {system.profile_file.relative_to(REPOSITORY)}"
        )
    return rows


def settings_for(folder: Path) -> StackSettings:
    """A stack of the benchmark's own: durable, and with Java compiled well."""
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


def interpreters() -> Mapping[str, Path]:
    """By the package that a contestant needs: ours has what the project needs, the benchmark's own
    has the others.
    """
    found = {"": Path(sys.executable)}
    for package in ("faststream", "confluent_kafka"):
        if find_spec(package) is not None:
            found[package] = Path(sys.executable)
        elif any(BENCH_PYTHON.parent.parent.glob(f"lib/python*/site-packages/{package}")):
            found[package] = BENCH_PYTHON
    return found


def told(console: Console, name: str, row: Measured) -> None:
    times, result = row.result.latency, row.result
    latency = f"p50 {times.p50:.1f}, p95 {times.p95:.1f}, p99 {times.p99:.1f} ms"
    came = f"{result.arrived} of {result.expected}, {result.per_second:.0f}/s"
    console.print(
        f"{name}, {row.load.name}: {latency}; {came}; load average {load_average()[0]:.1f}"
    )


def told_hop(console: Console, hop: Hop) -> None:
    console.print(
        f"{hop.title}: skipped, {hop.skipped}"
        if hop.skipped
        else f"{hop.title}: {hop.per_second:.0f} messages/s"
    )


def options_from(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.hops",
        description="Measures one hop, the floor of the path, and the path.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny loads, to see that it runs; its figures mean nothing",
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
        help="also sample where this service spends its processor time",
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = options_from(sys.argv[1:])
    console = Console(width=160)
    try:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        uvloop.run(bench(options, console, RESULT.parent))
    except (StackError, TooSlow) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
