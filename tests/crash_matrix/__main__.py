"""``make crash-matrix``: plays all cells, prints what became of each, and ends with 1 where one failed (CELLS=executor: only those)."""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.crash_matrix.cells import SHORT, Cell, full
from tests.crash_matrix.playing import Matrix, Result, matrix_on
from tests.crash_matrix.settings import Settings
from tools.stack.background import BackgroundLoop

CIRCLES = 16


async def play(matrix: Matrix, cells: Sequence[Cell], console: Console) -> list[Result]:
    results = []
    for number, cell in enumerate(cells, start=1):
        result = await matrix.play(cell)
        results.append(result)
        mark = "[green]passed[/]" if result.passed else "[red]FAILED[/]"
        console.print(f"{number}/{len(cells)} {mark} {cell.name} ({result.seconds} s)", soft_wrap=True)
        for found in result.found:
            console.print(f"    {found}", soft_wrap=True)
    return results


def table_of(results: Sequence[Result]) -> Table:
    """Boundaries by recovery and weather."""
    columns = list(dict.fromkeys((result.cell.recovery, result.cell.weather) for result in results if not result.cell.ordering))
    table = Table("boundary", *(f"{recovery}\n{weather}" for recovery, weather in columns))
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for result in results:
        if not result.cell.ordering:
            mark = "ok" if result.passed else "[red]FAIL[/]"
            rows.setdefault(result.cell.boundary.name, {})[result.cell.recovery, result.cell.weather] = mark
    for name, marks in rows.items():
        table.add_row(name, *(marks.get(column, "") for column in columns))
    return table


def counts_of(results: Sequence[Result]) -> list[str]:
    """How many passed, by service; and what the controls have shown."""
    ours = [result for result in results if not result.cell.ordering]
    played = Counter(result.cell.boundary.point.service for result in ours)
    passed = Counter(result.cell.boundary.point.service for result in ours if result.passed)
    lines = [f"{service}: {passed[service]} of {count} cells passed" for service, count in played.items()]
    for result in results:
        if result.cell.ordering:
            told = "found, as it must be" if result.passed else "NOT FOUND: the matrix is blind"
            lines.append(f"control '{result.cell.ordering}': {result.cell.must_find} {told}")
    seconds = sum(result.seconds for result in results)
    return [*lines, f"{sum(result.passed for result in results)} of {len(results)} cells passed in {seconds} s"]


def main() -> int:
    settings = Settings()
    cells = [cell for cell in (SHORT if settings.short else full()) if settings.asks_for(cell.name)]
    console = Console(width=220, highlight=False)
    if not cells:
        console.print(f"CELLS is {settings.cells!r}: no cell has these words in its name, such as {next(full()).name!r}")
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="crash-matrix-") as folder,
        BackgroundLoop() as background,
        background.entered(matrix_on(Path(folder) / "run", background, circles=CIRCLES)) as matrix,
    ):
        results = asyncio.run(play(matrix, cells, console))
    console.print(table_of(results), *counts_of(results), sep="\n")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
