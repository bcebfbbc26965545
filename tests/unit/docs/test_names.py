"""Every metric, environment variable, file and folder that a document names exists."""

import re
from pathlib import Path

import pytest

from tests.unit.docs.tables import DOCS

ROOT = DOCS.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("**/*.md")))
"""Not the changelog: it names what is gone."""

METRIC = re.compile(r"\bslipstream_[a-z_]+[a-z]\b(?!\()")
VARIABLE = re.compile(
    r"\b(?:KAFKA|DATABASE|CONTROLS|INGEST|PRICER|PREFLIGHT|EXECUTOR|TX_MONITOR|DEBT_RECOVERY|HEALTH)"
    r"_[A-Z_]*[A-Z]\b(?![_*])"
)
PATH = re.compile(
    r"`((?:services|shared|cli|tools|tests|contracts|docs|examples)/[\w./-]+)(?:::\w+)?`"
)


def unknown_names(name: re.Pattern[str], table: Path) -> list[str]:
    """The names in the pages that the table's page does not have, with their page."""
    known = table.read_text()
    return sorted(
        {
            f"{page.name}: {found}"
            for page in PAGES
            for found in name.findall(page.read_text())
            if found not in known
        }
    )


@pytest.mark.parametrize(
    ("name", "table"), [(METRIC, "metrics.md"), (VARIABLE, "settings.md")], ids=["metrics", "env"]
)
def test_what_a_document_names_exists(name: re.Pattern[str], table: str) -> None:
    assert unknown_names(name, DOCS / table) == []


def test_every_file_and_folder_that_a_document_names_exists() -> None:
    missing = sorted(
        {
            f"{page.name}: {path}"
            for page in PAGES
            for path in PATH.findall(page.read_text())
            if not (ROOT / path).exists()
        }
    )

    assert missing == []
