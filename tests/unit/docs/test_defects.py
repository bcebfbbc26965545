"""docs/defects-of-the-origin.md has all forty rows, and every test that it names exists."""

import ast
import re
from functools import cache

from tests.unit.docs.tables import DOCS, table_after

ROOT = DOCS.parent
ROWS = table_after("defects-of-the-origin.md", "## The list")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@cache
def list_functions(path: str) -> frozenset[str]:
    """The names of a file's test functions; none where there is no such file."""
    file = ROOT / path
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module(body=[], type_ignores=[])
    functions = (
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_all_forty_are_there_once_and_in_order() -> None:
    assert [row[0] for row in ROWS] == [f"B-{number:02}" for number in range(1, 41)]


def test_every_row_says_what_happened_there_why_not_here_and_where_we_stand() -> None:
    for number, there, here, state, shown in ROWS:
        assert all((there, here, shown)), number
        assert state in ("prevented", "absent", "open"), number


def test_what_is_prevented_is_shown_by_tests_and_what_is_not_says_what_is_missing() -> None:
    for number, _, _, state, shown in ROWS:
        words = _TEST.sub("", shown).strip()
        assert (_TEST.search(shown) is not None and not words) if state == "prevented" else words, (
            number
        )


def test_every_test_that_is_named_exists() -> None:
    named = [found for row in ROWS for found in _TEST.findall(row[4])]

    assert named
    assert [f"{path}::{name}" for path, name in named if name not in list_functions(path)] == []
    assert all(row[4].count("`tests/") == len(_TEST.findall(row[4])) for row in ROWS), (
        "a test is named in another way"
    )
