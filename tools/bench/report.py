"""Print results as tables."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tools.bench.figures import Latency
from tools.bench.goals import (
    FLOOR,
    PIPELINE,
    Goal,
    Measured,
    compare,
    find_floor,
    highest_sustained,
)
from tools.bench.one_hop import Hop
from tools.bench.path import Confirmations, LoadResult


def show(console: Console, hops: Sequence[Hop], measured: Measured) -> None:
    if hops:
        console.print(build_hops_table(hops))
    if measured:
        console.print(build_path_table(measured))
        console.print(build_cost_table(measured))
        console.print(build_goals_table(compare(measured)))
        for name in (FLOOR, PIPELINE):
            rows = measured.get(name, ())
            console.print(f"{name}: highest sustained rate {highest_sustained(rows):.0f} copies/s")


def print_measured(console: Console, name: str, row: LoadResult) -> None:
    """One line for a load that has ended."""
    times, result = row.result.latency, row.result
    latency = f"p50 {times.p50:.1f}, p95 {times.p95:.1f}, p99 {times.p99:.1f} ms"
    arrived = f"{result.arrived} of {result.expected}, {result.per_second:.0f}/s"
    confirmed = describe_confirmations(row.confirmations) if row.confirmations else ""
    simulators = sum(row.simulators_cpu_per_1000.values())
    console.print(
        f"{name}, {row.load.name}: {latency}; {arrived}{confirmed}; CPU {row.cpu:.2f} s per 1000 "
        f"(and {simulators:.2f} of the simulators); load average {row.load_average:.1f}"
    )


def describe_confirmations(confirmations: Confirmations) -> str:
    unfilled = ", ".join(f"{reason} {n}" for reason, n in confirmations.unfilled.items())
    not_filled = f", not filled: {unfilled}" if unfilled else ""
    return f", {confirmations.confirmed} confirmed{not_filled}"


def build_hops_table(hops: Sequence[Hop]) -> Table:
    table = _table("Added by one hop, at 100 messages/s; then on a backlog", "one hop")
    _add_figures(table, "p50 ms", "p95 ms", "p99 ms", "messages/s", "CPU µs/message")
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


def build_path_table(measured: Measured) -> Table:
    table = _table("From the leader's frame to the order at the venue", "system", "load")
    _add_figures(table, "p50 ms", "p95 ms", "p99 ms", "arrived", "copies/s", "CPU s per 1000")
    _add_figures(table, "p50 / floor", "p99 / floor", "confirmed", "p50, p99 ms")
    for name, rows in measured.items():
        for row in rows:
            result = row.result
            table.add_row(
                name,
                row.load.name,
                *_format_milliseconds(result.latency),
                f"{result.arrived} of {result.expected}{_describe_failure(row)}",
                f"{result.per_second:.0f}",
                f"{row.cpu:.2f}",
                *_ratios_to_floor(name, row, measured),
                *_format_confirmations(row),
            )
        table.add_section()
    return table


def build_cost_table(measured: Measured) -> Table:
    """What each process cost, those that stand in for the outside world included."""
    table = _table("Cost by process", "system", "load", "process")
    _add_figures(table, "CPU s per 1000 copies", "memory MB")
    for name, rows in measured.items():
        for row in rows:
            for process, seconds in sorted(row.cpu_per_1000.items(), key=lambda item: -item[1]):
                memory = row.memory_mb.get(process)
                table.add_row(
                    name,
                    row.load.name,
                    process,
                    f"{seconds:.2f}",
                    "" if memory is None else f"{memory:.0f}",
                )
            for process, seconds in row.simulators_cpu_per_1000.items():
                table.add_row(name, row.load.name, f"{process} (not counted)", f"{seconds:.2f}")
            table.add_section()
    return table


def build_goals_table(goals: Sequence[Goal]) -> Table:
    table = _table("Goals", "goal")
    _add_figures(table, "wanted", "measured", "verdict")
    for goal in goals:
        table.add_row(
            goal.text,
            f"{'>=' if goal.is_least else '<='} {goal.limit:g}",
            "-" if goal.value is None else f"{goal.value:.2f}",
            goal.verdict,
        )
    return table


def build_ratio_table(title: str, rows: Sequence[LoadResult]) -> Table:
    """Loads of one system, each compared with the first."""
    table = _table(title, "load")
    _add_figures(table, "p50 ms", "p95 ms", "p99 ms", "arrived", "CPU s per 1000", "to the first")
    for row in rows:
        table.add_row(
            row.load.name,
            *_format_milliseconds(row.result.latency),
            f"{row.result.arrived} of {row.result.expected}",
            f"{row.cpu:.2f}",
            f"{row.cpu / rows[0].cpu:.2f}" if rows[0].cpu else "-",
        )
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")


def _add_figures(table: Table, *columns: str) -> None:
    for column in columns:
        table.add_column(column, justify="right")


def _describe_failure(row: LoadResult) -> str:
    doubled = f", {row.result.duplicates} doubled" if row.result.duplicates else ""
    return doubled + ("" if row.is_sustained else ", not sustained")


def _ratios_to_floor(name: str, row: LoadResult, measured: Measured) -> tuple[str, str]:
    floor_row = None if name == FLOOR else find_floor(measured, row.load)
    if floor_row is None:
        return "", ""
    ours, least = row.result.latency, floor_row.result.latency
    return f"{ours.p50 / least.p50:.2f}", f"{ours.p99 / least.p99:.2f}"


def _format_confirmations(row: LoadResult) -> tuple[str, str]:
    if row.confirmations is None:
        return "", ""
    times = row.confirmations.latency
    return (
        str(row.confirmations.confirmed),
        "-" if times is None else f"{times.p50:.0f}, {times.p99:.0f}",
    )


def _format_milliseconds(times: Latency) -> tuple[str, str, str]:
    return f"{times.p50:.1f}", f"{times.p95:.1f}", f"{times.p99:.1f}"


def format_costs(costs: Mapping[str, float]) -> str:
    """Costs by process in one line, the highest first."""
    ordered = sorted(costs.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {value:.2f}" for name, value in ordered)
