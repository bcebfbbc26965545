"""Print the results as tables and write them as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.bench.figures import Latency
from tools.bench.loads import LIGHT
from tools.bench.one_hop import Hop
from tools.bench.path import LoadResult

GOALS = (
    "goals: at light load p50 <= 1.3 and p99 <= 1.5 times the floor; "
    "at least half its highest rate; at least 1000 copies/s"
)


def build_hops_table(hops: Sequence[Hop]) -> Table:
    table = Table(
        "one hop",
        title="Added by one hop, at 100 messages/s; then on a backlog",
        title_justify="left",
    )
    for column in ("p50 ms", "p95 ms", "p99 ms", "messages/s", "CPU µs/message"):
        table.add_column(column, justify="right")
    for hop in hops:
        if hop.added is None:
            table.add_row(hop.title, hop.skipped)
        else:
            table.add_row(
                hop.title,
                *_format_milliseconds(hop.added),
                f"{hop.per_second:.0f}",
                f"{hop.cpu_us:.0f}",
            )
    return table


def build_path_table(measured: Mapping[str, Sequence[LoadResult]]) -> Table:
    table = Table(
        "system",
        "load",
        title="From the leader's frame to the order at the venue",
        title_justify="left",
    )
    for column in (
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "arrived",
        "copies/s",
        "CPU s per 1000",
        "p50 / floor",
        "p99 / floor",
    ):
        table.add_column(column, justify="right")
    for name, rows in measured.items():
        for row in rows:
            ratios = (
                _ratios_to_floor(row, measured.get("floor", ())) if name != "floor" else ("", "")
            )
            result = row.result
            arrived = f"{result.arrived} of {result.expected}" + (
                "" if row.is_sustained else ", not sustained"
            )
            cpu = f"{sum(row.cpu_per_1000.values()):.2f}"
            table.add_row(
                name,
                row.load.name,
                *_format_milliseconds(result.latency),
                arrived,
                f"{result.per_second:.0f}",
                cpu,
                *ratios,
            )
    return table


def build_cpu_table(measured: Mapping[str, Sequence[LoadResult]]) -> Table:
    table = Table(
        "system",
        "load",
        "process",
        "CPU s per 1000 copies",
        title="CPU use by process",
        title_justify="left",
    )
    for name, rows in measured.items():
        for row in rows:
            for process, seconds in sorted(row.cpu_per_1000.items(), key=lambda item: -item[1]):
                table.add_row(name, row.load.name, process, f"{seconds:.2f}")
            table.add_section()
    return table


def highest_sustained(rows: Sequence[LoadResult]) -> float:
    """Copies per second of the highest sustained step; 0 where there is none."""
    return max(
        (row.load.copies_per_second for row in rows if row.is_sustained and row.load.seconds >= 2),
        default=0.0,
    )


def summarise(measured: Mapping[str, Sequence[LoadResult]]) -> list[str]:
    lines = [
        f"{name}: highest sustained rate {highest_sustained(rows):.0f} copies/s"
        for name, rows in measured.items()
    ]
    return [*lines, GOALS]


def write(
    file: Path,
    machine: Mapping[str, object],
    hops: Sequence[Hop],
    measured: Mapping[str, Sequence[LoadResult]],
) -> None:
    results: dict[str, Any] = {
        "machine": machine,
        "hops": [asdict(hop) for hop in hops],
        "path": {
            name: [asdict(row) | {"sustained": row.is_sustained} for row in rows]
            for name, rows in measured.items()
        },
        "highest_sustained_copies_per_second": {
            name: highest_sustained(rows) for name, rows in measured.items()
        },
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")


def show(
    console: Console, hops: Sequence[Hop], measured: Mapping[str, Sequence[LoadResult]]
) -> None:
    if hops:
        console.print(build_hops_table(hops))
    if measured:
        console.print(build_path_table(measured))
        console.print(
            build_cpu_table(
                {
                    name: [row for row in rows if row.load.name != LIGHT]
                    for name, rows in measured.items()
                }
            )
        )
        for line in summarise(measured):
            console.print(line)


def _ratios_to_floor(row: LoadResult, floor: Sequence[LoadResult]) -> tuple[str, str]:
    floor_row = next((other for other in floor if other.load == row.load), None)
    if floor_row is None:
        return "", ""
    ours, least = row.result.latency, floor_row.result.latency
    return f"{ours.p50 / least.p50:.2f}", f"{ours.p99 / least.p99:.2f}"


def _format_milliseconds(times: Latency) -> tuple[str, str, str]:
    return f"{times.p50:.1f}", f"{times.p95:.1f}", f"{times.p99:.1f}"
