"""A matrix that is played on leaves out what passed, and nothing else."""

from dataclasses import replace
from pathlib import Path

from tests.crash_matrix.cells import CONTROLS, SHORT, Finding
from tests.crash_matrix.judging import Found
from tests.crash_matrix.playing import Result
from tests.crash_matrix.recording import Record, this_commit

CELL = SHORT[0]
PASSED = Result(cell=CELL, found=(), seconds=8)
FAILED = replace(PASSED, found=(Found(finding=Finding.DOUBLED, text="two orders"),))


def record(folder: Path, *results: Result) -> Record:
    kept = Record(folder / "results.jsonl", commit="abc")
    for result in results:
        kept.add(result)
    return kept


def test_what_was_not_played_has_not_passed(tmp_path: Path) -> None:
    assert record(tmp_path).passed(SHORT) == []
    assert record(tmp_path, PASSED).passed(SHORT[1:]) == []


def test_of_a_cell_the_last_result_counts(tmp_path: Path) -> None:
    assert record(tmp_path, FAILED, PASSED).passed(SHORT) == [PASSED]
    assert record(tmp_path, FAILED).passed(SHORT) == []


def test_a_control_that_found_what_it_must_find_has_passed(tmp_path: Path) -> None:
    control = Result(
        cell=CONTROLS[0], found=(Found(finding=Finding.DOUBLED, text="two orders"),), seconds=20
    )

    assert record(tmp_path, control).passed(CONTROLS) == [control]


def test_a_result_says_on_which_commit_it_was_played(tmp_path: Path) -> None:
    assert [line.commit for line in record(tmp_path, PASSED).lines().values()] == ["abc"]
    assert this_commit()
