"""The results file: one line of JSON for each run of a cell, with its commit and problems."""

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import AwareDatetime, BaseModel

from shared.clock import utc_now
from tests.crash_matrix.cells import Cell, Finding
from tests.crash_matrix.judging import Problem
from tests.crash_matrix.matrix import Result


class ResultLine(BaseModel, frozen=True):
    cell: str
    problems: tuple[tuple[Finding, str], ...]
    seconds: int
    commit: str
    ended_at: AwareDatetime


class ResultsFile:
    """Of each cell the last line counts."""

    def __init__(self, path: Path, *, commit: str) -> None:
        """``commit``: the one on which cells are run now."""
        self._path, self._commit = path, commit

    def add(self, result: Result) -> None:
        problems = tuple((each.finding, each.text) for each in result.problems)
        line = ResultLine(
            cell=result.cell.name,
            problems=problems,
            seconds=result.seconds,
            commit=self._commit,
            ended_at=utc_now(),
        )
        with self._path.open("a") as file:
            file.write(line.model_dump_json() + "\n")

    def load_lines(self) -> Mapping[str, ResultLine]:
        """By the cell's name. Raises: pydantic's ValidationError for an invalid line."""
        if not self._path.exists():
            return {}
        return {
            line.cell: line
            for line in map(ResultLine.model_validate_json, self._path.read_text().splitlines())
        }

    def load_passed(self, cells: Iterable[Cell]) -> list[Result]:
        """The results of those of the cells that passed."""
        lines = self.load_lines()
        results = [parse_result(cell, lines[cell.name]) for cell in cells if cell.name in lines]
        return [result for result in results if result.passed]


def parse_result(cell: Cell, line: ResultLine) -> Result:
    return Result(
        cell=cell,
        problems=tuple(Problem(finding=finding, text=text) for finding, text in line.problems),
        seconds=line.seconds,
    )


def describe_commit() -> str:
    """The commit of the working tree, with ``-dirty`` if it has changes.

    Raises: CalledProcessError outside of a checkout.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    return subprocess.run(
        command, capture_output=True, check=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
