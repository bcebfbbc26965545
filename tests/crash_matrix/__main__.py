"""``make crash-matrix``: plays all cells, prints what became of each, and ends with 1 where one
failed (CELLS=executor: only those).
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tests.crash_matrix.cells import SHORT, Cell, full
from tests.crash_matrix.playing import Matrix, Result, matrix_on
from tests.crash_matrix.recording import Record, this_commit
from tests.crash_matrix.reporting import table_of_boundaries, table_of_counts, verdicts
from tests.crash_matrix.settings import Settings
from tools.stack.background import BackgroundLoop

CIRCLES = 16


async def play(
    matrices: Sequence[Matrix], cells: Sequence[Cell], tell: Callable[[int, Result], None]
) -> list[Result]:
    """Each deployment takes the next cell when it is done with one."""
    coming = iter(enumerate(cells, start=1))
    shares = await asyncio.gather(*(_share(matrix, coming, tell) for matrix in matrices))
    return [result for share in shares for result in share]


async def _share(
    matrix: Matrix, coming: Iterator[tuple[int, Cell]], tell: Callable[[int, Result], None]
) -> list[Result]:
    results = []
    for number, cell in coming:
        result = await matrix.play(cell)
        results.append(result)
        tell(number, result)
    return results


def played(
    cells: Sequence[Cell], settings: Settings, tell: Callable[[int, Result], None]
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
                    matrix_on(Path(folder) / str(number), background, circles=CIRCLES)
                )
            )
            for number in range(min(settings.side_by_side, len(cells)))
        ]
        return asyncio.run(play(matrices, cells, tell))


def main() -> int:
    settings, console = Settings(), Console(width=220, highlight=False, soft_wrap=True)
    cells = [cell for cell in (SHORT if settings.short else full()) if settings.asks_for(cell.name)]
    if not cells:
        console.print(
            f"CELLS is {settings.cells!r}: no cell has these words in its name, such as {next(full()).name!r}"
        )
        return 2
    commit = this_commit()
    record = Record(settings.results, commit=commit) if settings.results else None
    before = record.passed(cells) if record else []
    coming = [cell for cell in cells if cell not in {result.cell for result in before}]
    console.print(
        f"{len(coming)} cells on {commit}; {len(before)} are left out, which passed before"
    )

    def tell(number: int, result: Result) -> None:
        mark = "[green]passed[/]" if result.passed else "[red]FAILED[/]"
        console.print(f"{number}/{len(coming)} {mark} {result.cell.name} ({result.seconds} s)")
        for found in result.found:
            console.print(f"    {found}", markup=False)
        if record:
            record.add(result)

    results = sorted(
        [*before, *played(coming, settings, tell)], key=lambda result: cells.index(result.cell)
    )
    console.print(
        table_of_boundaries(results), table_of_counts(results), *verdicts(results), sep="\n"
    )
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
