"""Names, columns, topics, metrics and documents use the glossary's words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.db import tables
from shared.observe import metrics
from shared.streams.topics import TOPICS
from tests.architecture import project, words
from tests.architecture.test_house_rules import violations

CODE = [
    path
    for path in project.python("services", "shared", "cli", "tools", "tests")
    if "versions" not in path.parts and path != Path("tests/architecture/words.py")
]
VENUE = [path for path in CODE if path.parts[:2] == ("services", "paper_venue")]
PROSE = [
    path
    for path in [*CODE, *(path for path in project.files() if path.suffix == ".md")]
    if path.name not in {"glossary.md", "CHANGELOG.md", "test_words.py"} and "db" not in path.parts
]
"""Without what names the words of the previous release, because it retires or migrates them."""


def test_no_name_uses_a_retired_word() -> None:
    assert violations(CODE, words.retired_names) == []


def test_no_name_of_the_venue_uses_a_word_that_is_retired_there() -> None:
    assert VENUE
    assert violations(VENUE, words.retired_names_of_the_venue) == []


def test_no_file_is_named_by_a_retired_word() -> None:
    assert words.retired_files(CODE) == []


def test_functions_begin_with_a_verb() -> None:
    assert violations(CODE, words.functions_named_of) == []


def test_every_logger_is_called_logger() -> None:
    assert violations(CODE, words.foreign_loggers) == []


def test_no_module_begins_with_a_question() -> None:
    assert violations(CODE, words.questions) == []


def test_documents_and_docstrings_use_plain_phrases() -> None:
    assert PROSE
    assert violations(PROSE, words.retired_prose) == []


def test_tables_and_columns_use_no_retired_word() -> None:
    names = [
        name
        for table in tables.metadata.tables.values()
        for name in (table.name, *table.columns.keys(), *(index.name for index in table.indexes))
    ]

    assert names
    assert [
        f"{name}: {words.advice_for(str(name))}" for name in names if words.advice_for(str(name))
    ] == []


def test_metrics_and_topics_use_no_retired_word() -> None:
    names = [topic.name for topic in TOPICS]
    for declaration in metrics.declarations():
        names += [declaration.name, *(label.name for label in declaration.labels)]

    assert [f"{name}: {words.advice_for(name)}" for name in names if words.advice_for(name)] == []


BAD: list[tuple[Callable[[str], list[str]], str]] = [
    (words.retired_names, "told = 1"),
    (words.retired_names, "def load(witnesses: int) -> None: ..."),
    (words.retired_names, "class Tenure: ..."),
    (words.retired_names, "MOST_ROWS = 1"),
    (words.retired_names, "self.letter_number = 1"),
    (words.retired_names_of_the_venue, "class HouseTrader: ..."),
    (words.functions_named_of, "def rows_of(x): ..."),
    (words.foreign_loggers, "log = logging.getLogger(__name__)"),
    (words.questions, '"""What is asked?"""'),
    (words.retired_prose, "It stands in our books."),
]
GOOD: list[tuple[Callable[[str], list[str]], str]] = [
    (words.retired_names, "dead_letter = almost = 1"),
    (words.retired_names, "class DeadLetterStore: ..."),
    (words.functions_named_of, "def as_of(version): ..."),
    (words.foreign_loggers, "logger = logging.getLogger(__name__)"),
    (words.questions, '"""Parses rows."""'),
    (words.retired_prose, "It stands in the order book."),
]


@pytest.mark.parametrize(("rule", "bad"), BAD)
def test_what_breaks_a_rule_is_seen(rule: Callable[[str], list[str]], bad: str) -> None:
    assert len(rule(bad)) == 1


@pytest.mark.parametrize(("rule", "good"), GOOD)
def test_what_keeps_a_rule_is_left_alone(rule: Callable[[str], list[str]], good: str) -> None:
    assert rule(good) == []


def test_a_file_with_a_retired_name_is_seen() -> None:
    assert words.retired_files([Path("tests/desk.py"), Path("shared/db/dead_letters.py")]) == [
        "tests/desk.py: say what the thing is"
    ]
