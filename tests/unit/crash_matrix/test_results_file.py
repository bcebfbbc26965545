"""A matrix that is continued skips the cells that passed, and no others."""

from dataclasses import replace
from pathlib import Path

from tests.crash_matrix.cells import CONTROLS, SHORT, Finding
from tests.crash_matrix.judging import Problem
from tests.crash_matrix.matrix import Result
from tests.crash_matrix.results_file import ResultsFile, describe_commit

CELL = SHORT[0]
PASSED = Result(cell=CELL, problems=(), seconds=8)
FAILED = replace(PASSED, problems=(Problem(finding=Finding.DOUBLED, text="two orders"),))


def results_file(folder: Path, *results: Result) -> ResultsFile:
    file = ResultsFile(folder / "results.jsonl", commit="abc")
    for result in results:
        file.add(result)
    return file


def test_a_cell_that_was_not_run_has_not_passed(tmp_path: Path) -> None:
    assert results_file(tmp_path).load_passed(SHORT) == []
    assert results_file(tmp_path, PASSED).load_passed(SHORT[1:]) == []


def test_the_last_result_of_a_cell_counts(tmp_path: Path) -> None:
    assert results_file(tmp_path, FAILED, PASSED).load_passed(SHORT) == [PASSED]
    assert results_file(tmp_path, FAILED).load_passed(SHORT) == []


def test_a_control_that_found_what_it_must_has_passed(tmp_path: Path) -> None:
    control = Result(
        cell=CONTROLS[0],
        problems=(Problem(finding=Finding.DOUBLED, text="two orders"),),
        seconds=20,
    )

    assert results_file(tmp_path, control).load_passed(CONTROLS) == [control]


def test_a_result_names_the_commit_that_it_was_run_on(tmp_path: Path) -> None:
    assert [line.commit for line in results_file(tmp_path, PASSED).load_lines().values()] == ["abc"]
    assert describe_commit()
