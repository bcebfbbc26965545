"""``make crash-matrix``: runs the cells, prints each result, and exits with 1 if one failed."""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tests.crash_matrix.cells import SHORT, Cell, all_cells
from tests.crash_matrix.matrix import Matrix, Result, matrix_on
from tests.crash_matrix.reporting import build_boundary_table, build_count_table, build_summary
from tests.crash_matrix.results_file import ResultsFile, describe_commit
from tests.crash_matrix.settings import Settings
from tools.stack.background import BackgroundLoop

FOLLOW_GROUPS = 16
"""Of each deployment: one is given up after each cell with problems."""


async def run_cells(
    matrices: Sequence[Matrix], cells: Sequence[Cell], on_result: Callable[[int, Result], None]
) -> list[Result]:
    """Each deployment takes the next cell when it is done with one."""
    queue = iter(enumerate(cells, start=1))
    results = await asyncio.gather(
        *(_run_next_cells(matrix, queue, on_result) for matrix in matrices)
    )
    return [result for of_matrix in results for result in of_matrix]


async def _run_next_cells(
    matrix: Matrix, queue: Iterator[tuple[int, Cell]], on_result: Callable[[int, Result], None]
) -> list[Result]:
    results = []
    for number, cell in queue:
        result = await matrix.run(cell)
        results.append(result)
        on_result(number, result)
    return results


def run_on_deployments(
    cells: Sequence[Cell], settings: Settings, on_result: Callable[[int, Result], None]
) -> list[Result]:
    if not cells:
        return []
    with (
        tempfile.TemporaryDirectory(prefix="crash-matrix-") as folder,
        BackgroundLoop() as background,
        ExitStack() as deployments,
    ):
        matrices = [
            deployments.enter_context(
                background.entered(
                    matrix_on(Path(folder) / str(number), background, follow_groups=FOLLOW_GROUPS)
                )
            )
            for number in range(min(settings.side_by_side, len(cells)))
        ]
        return asyncio.run(run_cells(matrices, cells, on_result))


def main() -> int:
    settings, console = Settings(), Console(width=220, highlight=False, soft_wrap=True)
    cells = [
        cell for cell in (SHORT if settings.short else all_cells()) if settings.includes(cell.name)
    ]
    if not cells:
        console.print(
            f"CELLS is {settings.cells!r}: no cell has all of these words in its name, "
            f"such as {next(all_cells()).name!r}"
        )
        return 2
    commit = describe_commit()
    file = ResultsFile(settings.results, commit=commit) if settings.results else None
    earlier = file.load_passed(cells) if file else []
    remaining = [cell for cell in cells if cell not in {result.cell for result in earlier}]
    console.print(
        f"running {len(remaining)} cells on {commit}; skipping {len(earlier)} that passed before"
    )

    def print_result(number: int, result: Result) -> None:
        mark = "[green]passed[/]" if result.passed else "[red]FAILED[/]"
        console.print(f"{number}/{len(remaining)} {mark} {result.cell.name} ({result.seconds} s)")
        for problem in result.problems:
            console.print(f"    {problem}", markup=False)
        if file:
            file.add(result)

    results = sorted(
        [*earlier, *run_on_deployments(remaining, settings, print_result)],
        key=lambda result: cells.index(result.cell),
    )
    console.print(
        build_boundary_table(results), build_count_table(results), *build_summary(results), sep="\n"
    )
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
