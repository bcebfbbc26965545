"""What the plots show, from the kept results of runs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.bench.goals import FLOOR, PIPELINE, WITH_PAST, WITHOUT_PAST
from tools.bench.loads import BURST, HISTORY, LIGHT, RATE

Run = Mapping[str, Any]
"""A run as its JSON has it."""
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Lines over one number. ``name``: of its file."""

    name: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[Point]]
    logarithmic: bool = False

    @property
    def is_empty(self) -> bool:
        return not any(self.lines.values())


def build_plots(
    *, hops: Sequence[Run], histories: Sequence[Run], soaks: Sequence[Run]
) -> list[Plot]:
    """The plots that these runs have figures for, each of the newest run that has. The oldest run
    comes first in each list.
    """
    plots = [
        *(_first_with_figures(hops, build) for build in (_latency_by_rate, _time_by_followers)),
        _first_with_figures([*hops, *histories], _cost_by_history, key=lambda run: run["at"]),
        _first_with_figures(soaks, _memory_by_time),
    ]
    return [plot for plot in plots if plot is not None]


def _first_with_figures(
    runs: Sequence[Run], build: Any, *, key: Any = lambda run: 0
) -> Plot | None:
    for run in reversed(sorted(runs, key=key)):
        plot: Plot = build(run)
        if not plot.is_empty:
            return plot
    return None


def _latency_by_rate(run: Run) -> Plot:
    return Plot(
        name="latency-by-rate",
        title=f"Latency against rate, {_origin(run)}",
        x="copies per second",
        y="ms to the order",
        lines={
            f"{system}, {quantile}": sorted(
                (_rate(row), row["result"]["latency"][quantile])
                for row in _complete_rows(run, system)
                if row["load"]["kind"] in (LIGHT, RATE)
            )
            for system in (FLOOR, PIPELINE)
            for quantile in ("p50", "p99")
        },
        logarithmic=True,
    )


def _time_by_followers(run: Run) -> Plot:
    """Ends at the last of a burst's copies but one in a hundred."""
    return Plot(
        name="time-by-followers",
        title=f"Time until 99 % of a trade's copies are posted, {_origin(run)}",
        x="followers of one trade",
        y="ms",
        lines={
            system: sorted(
                (row["load"]["followers"], row["result"]["latency"]["p99"])
                for row in _complete_rows(run, system)
                if row["load"]["kind"] == BURST
            )
            for system in (FLOOR, PIPELINE)
        },
        logarithmic=True,
    )


def _cost_by_history(run: Run) -> Plot:
    """From a run of either benchmark that fills a history."""
    histories = run.get("histories") or [
        {"rows": run.get("rows_of_history", 0), "loads": run.get("path", {}).get(HISTORY, ())}
    ]
    points: list[Point] = []
    for history in histories:
        by_name = {row["load"]["name"]: row["cpu"] for row in history["loads"]}
        if WITH_PAST in by_name:
            if not points:
                points.append((0, by_name[WITHOUT_PAST]))
            points.append((history["rows"], by_name[WITH_PAST]))
    return Plot(
        name="cost-by-history",
        title=f"Cost of a copy against old copies, {_origin(run)}",
        x="old copies in the database",
        y="CPU s per 1,000 copies",
        lines={"pipeline": sorted(points)},
    )


def _memory_by_time(run: Run) -> Plot:
    samples, rate = run.get("samples", ()), run.get("effort", {}).get("copies_per_second", 0)
    names = sorted({name for sample in samples for name in sample["memory_mb"]})
    return Plot(
        name="memory-by-time",
        title=f"Memory at {rate} copies/s, {_origin(run)}",
        x="minutes",
        y="MB",
        lines={
            name: [(sample["second"] / 60, sample["memory_mb"].get(name, 0)) for sample in samples]
            for name in names
        },
    )


def _complete_rows(run: Run, system: str) -> list[Mapping[str, Any]]:
    """The loads of which each copy arrived, once: times of the others are those of some copies."""
    return [
        row
        for row in run["path"].get(system, ())
        if row["result"]["arrived"] == row["result"]["expected"]
        and row["result"]["duplicates"] == 0
    ]


def _rate(row: Mapping[str, Any]) -> float:
    return float(row["load"]["trades_per_second"] * row["load"]["followers"])


def _origin(run: Run) -> str:
    return f"{run['at'][:10]}, {run['commit'][:7]}"
