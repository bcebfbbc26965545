"""Which cells were played before, on which commit, and what became of them? A file with a line of
JSON for each.
"""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import AwareDatetime, BaseModel

from shared.clock import utc_now
from tests.crash_matrix.cells import Cell, Finding
from tests.crash_matrix.judging import Found
from tests.crash_matrix.playing import Result


class Line(BaseModel, frozen=True):
    cell: str
    found: tuple[tuple[Finding, str], ...]
    seconds: int
    commit: str
    ended_at: AwareDatetime


class Record:
    """Of every cell the last line counts."""

    def __init__(self, path: Path, *, commit: str) -> None:
        """``commit``: of what is played now."""
        self._path, self._commit = path, commit

    def add(self, result: Result) -> None:
        found = tuple((each.finding, each.text) for each in result.found)
        line = Line(
            cell=result.cell.name,
            found=found,
            seconds=result.seconds,
            commit=self._commit,
            ended_at=utc_now(),
        )
        with self._path.open("a") as file:
            file.write(line.model_dump_json() + "\n")

    def lines(self) -> Mapping[str, Line]:
        """By the cell's name. Raises: pydantic's ValidationError for a line that is none."""
        if not self._path.exists():
            return {}
        return {
            line.cell: line
            for line in map(Line.model_validate_json, self._path.read_text().splitlines())
        }

    def passed(self, cells: Iterable[Cell]) -> list[Result]:
        """Those of the cells that passed."""
        lines = self.lines()
        played = [_result(cell, lines[cell.name]) for cell in cells if cell.name in lines]
        return [result for result in played if result.passed]


def _result(cell: Cell, line: Line) -> Result:
    return Result(
        cell=cell,
        found=tuple(Found(finding=finding, text=text) for finding, text in line.found),
        seconds=line.seconds,
    )


def this_commit() -> str:
    """Of the working tree; ``-dirty`` when it has been changed since. Raises: CalledProcessError
    outside of a checkout.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    return subprocess.run(
        command, capture_output=True, check=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
