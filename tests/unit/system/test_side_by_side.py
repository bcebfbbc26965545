"""Tests that share a fixture go to one worker, and what takes minutes starts first."""

from pathlib import Path

import pytest

from tests.side_by_side import (
    STARTED_FIRST,
    TEST_BY_TEST,
    WITH_ONE_VENUE,
    part_with,
    place_of_part,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("nodeid", "part"),
    [
        ("tests/unit/stack/test_settings.py::test_a[x::y]", "tests/unit/stack/test_settings.py"),
        ("tests/integration/executor/test_faults.py::test_a", "tests/integration/executor"),
        ("tests/e2e/test_exits.py::test_a", "tests/e2e/test_exits.py"),
        ("tests/e2e/test_cli.py::test_a", "tests/e2e/test_cli.py::test_a"),
    ],
)
def test_tests_that_share_something_are_one_part(nodeid: str, part: str) -> None:
    assert part_with(nodeid) == part


def test_the_tests_of_each_folder_with_one_chain_or_venue_are_one_part() -> None:
    folders = {
        str(path.parent.relative_to(ROOT))
        for path in (ROOT / "tests" / "integration").glob("*/conftest.py")
        if "rpc_url" in path.read_text()
    }

    assert folders == set(WITH_ONE_VENUE)


def test_everything_that_is_named_exists() -> None:
    assert [name for name in (*TEST_BY_TEST, *STARTED_FIRST) if not (ROOT / name).exists()] == []


def test_what_takes_minutes_starts_before_everything_else() -> None:
    parts = ["tests/unit/stack/test_settings.py", *reversed(STARTED_FIRST)]

    assert sorted(parts, key=place_of_part) == [*STARTED_FIRST, parts[0]]
