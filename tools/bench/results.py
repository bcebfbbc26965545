"""Keep the results of runs as JSON in var/bench, with what they were measured on and when.

A run writes a file of its own, named by its kind, time and commit; nothing is overwritten. Runs
with ``--quick`` are kept apart: their figures mean nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from shared.clock import utc_now
from tools.bench.machine import describe_commit, describe_machine, load_average, measure_speed
from tools.bench.path import LoadResult
from tools.stack.settings import REPOSITORY

FOLDER = REPOSITORY / "var" / "bench"
QUICK_FOLDER = FOLDER / "quick"
HISTORY, HOPS, LAB, SOAK = KINDS = ("history", "hops", "lab", "soak")


class Run:
    """One run of a benchmark, from its start; ``write`` may be called again and again."""

    def __init__(self, kind: str, *, quick: bool) -> None:
        at, commit = utc_now(), describe_commit(REPOSITORY)
        self.quick = quick
        self.facts: dict[str, Any] = {
            "kind": kind,
            "quick": quick,
            "at": at.isoformat(timespec="seconds"),
            **commit,
            "machine": describe_machine(),
            "load_average_before": load_average(),
            "million_additions_ms": measure_speed(),
        }
        name = f"{kind}-{at:%Y%m%dT%H%M%S}-{commit['commit'] or 'unknown'}.json"
        self.file = (QUICK_FOLDER if quick else FOLDER) / name
        self.file.parent.mkdir(parents=True, exist_ok=True)

    def describe(self) -> str:
        """One line for the terminal."""
        facts, machine = self.facts, self.facts["machine"]
        modified = ", modified" if facts["modified"] else ""
        return (
            f"{facts['at']}, commit {facts['commit']}{modified}, {machine['cpu']}, "
            f"{machine['cores']} cores, load average {facts['load_average_before']}, "
            f"a million additions in {facts['million_additions_ms']} ms"
        )

    def write(self, **results: Any) -> None:
        """Write the facts and these results, so far as they are there."""
        text = json.dumps({**self.facts, "load_average_after": load_average(), **results}, indent=1)
        self.file.write_text(text + "\n")

    def finish(self, console: Console) -> None:
        """Say where the results are."""
        console.print(
            f"load average after {load_average()}, a million additions in {measure_speed()} ms; "
            f"written to {self.file.relative_to(REPOSITORY)}"
        )


def build_rows(measured: Sequence[LoadResult]) -> list[dict[str, Any]]:
    """The results of loads, for JSON."""
    return [asdict(row) | {"sustained": row.is_sustained, "cpu": row.cpu} for row in measured]


def read_runs(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All kept runs of a kind, the oldest first. A file that is being written is left out."""
    runs = []
    for file in sorted(folder.glob(f"{kind}-*.json")):
        try:
            runs.append(json.loads(file.read_text()))
        except json.JSONDecodeError:
            continue
    return runs
