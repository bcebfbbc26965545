"""Show the running demo: as a live table on a terminal, as plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.demo.copies import Row, format_refusals
from shared.domain.money import as_decimal

ROWS_SHOWN = 14
ONE_MS = timedelta(milliseconds=1)
LINE_INTERVAL_S = 5
STYLE_BY_STATE = {
    "confirmed": "green",
    "matched": "cyan",
    "refused": "yellow",
    "killed": "yellow",
    "rejected": "red",
    "failed": "red",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The figures and rows that are shown while leaders trade and copies settle."""

    phase: str
    leader_trades: int
    requested: int | None
    """None where the demo is endless."""
    states: Counter[str]
    refusals: Counter[str]
    rows: list[Row]


class Screen(Protocol):
    def begin(self, step: str) -> None:
        """Show that a step has started."""
        ...

    def done(self, step: str) -> None:
        """Show that a step is complete."""
        ...

    def note(self, line: str) -> None: ...

    def show(self, progress: Progress) -> None: ...

    def close(self) -> None:
        """Stop updating; what was shown last stays."""
        ...


@contextmanager
def step(screen: Screen, name: str) -> Iterator[None]:
    """Show that the step is running, and that it is complete if nothing is raised."""
    screen.begin(name)
    yield
    screen.done(name)


def open_screen() -> Screen:
    return LiveScreen() if sys.stdout.isatty() else PlainScreen()


@dataclass(slots=True)
class PlainScreen:
    """One line per event, and one for the progress every five seconds."""

    started: int = field(default_factory=time.monotonic_ns)
    shown: int = 0

    def begin(self, step: str) -> None:
        pass

    def done(self, step: str) -> None:
        self._print(f"done: {step}")

    def note(self, line: str) -> None:
        self._print(line)

    def show(self, progress: Progress) -> None:
        now = time.monotonic_ns()
        if now - self.shown >= LINE_INTERVAL_S * 10**9:
            self.shown = now
            self._print(format_headline(progress))

    def close(self) -> None:
        pass

    def _print(self, line: str) -> None:
        seconds = (time.monotonic_ns() - self.started) // 10**9
        print(f"{seconds:>4} s  {line}", flush=True)


class LiveScreen:
    """The steps of the start, then the table of copies."""

    def __init__(self) -> None:
        self._console = Console()
        self._steps: dict[str, tuple[int, Spinner]] = {}
        self._progress: Progress | None = None
        self._live = Live(
            console=self._console, refresh_per_second=6, transient=True, get_renderable=self._render
        )
        self._live.start()

    def begin(self, step: str) -> None:
        self._steps[step] = (time.monotonic_ns(), Spinner("dots"))

    def done(self, step: str) -> None:
        since, _ = self._steps.pop(step)
        tenths = (time.monotonic_ns() - since) // 10**8
        self.note(f"[green]✓[/green] {step} [dim]{tenths // 10}.{tenths % 10} s[/dim]")

    def note(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def show(self, progress: Progress) -> None:
        self._progress = progress

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        shown: list[RenderableType] = []
        if self._progress is not None:
            shown += [
                Text(format_headline(self._progress), style="bold"),
                build_copies_table(self._progress.rows),
            ]
        for step, (since, spinner) in list(self._steps.items()):
            spinner.update(text=f"{step} … {(time.monotonic_ns() - since) // 10**9} s")
            shown.append(spinner)
        return Group(*shown)


def format_headline(progress: Progress) -> str:
    of = f" of {progress.requested}" if progress.requested is not None else ""
    states = ", ".join(f"{count} {state}" for state, count in progress.states.most_common())
    refused = f" ({', '.join(format_refusals(progress.refusals))})" if progress.refusals else ""
    copies = sum(progress.states.values())
    trades = f"{progress.phase}: {progress.leader_trades}{of} leader trades"
    return f"{trades}, {copies} copies: {states or 'none yet'}{refused}"


def build_copies_table(rows: list[Row]) -> Table:
    table = Table(box=None, padding=(0, 1), expand=True)
    for name in ("leader", "market", "side"):
        table.add_column(
            name, no_wrap=True, ratio=1 if name == "market" else None, overflow="ellipsis"
        )
    for name in ("USDC", "price"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("follower", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=18)
    table.add_column("ms", justify="right", no_wrap=True)
    for row in rows[:ROWS_SHOWN]:
        table.add_row(*format_cells(row), style=STYLE_BY_STATE.get(row.state.partition(":")[0], ""))
    return table


def format_cells(row: Row) -> tuple[str, ...]:
    return (
        shorten(row.leader),
        row.market,
        row.side.value,
        f"{as_decimal(row.usdc):.2f}",
        "-" if row.price is None else f"{row.price:.4f}",
        shorten(row.follower),
        row.state,
        str(row.since_seen // ONE_MS),
    )


def shorten(address: str) -> str:
    return f"{address[:6]}…{address[-4:]}"
