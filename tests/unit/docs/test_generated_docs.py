"""docs/metrics.md and docs/settings.md are what `make docs` writes, and leave nothing out."""

import pytest

from shared.observe.metrics import declarations
from tests.unit.docs.tables import DOCS
from tools.docs.__main__ import pages
from tools.docs.settings import SECRET_VARIABLES, all_classes, list_settings


@pytest.mark.parametrize("name", pages())
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == pages()[name], "run `make docs`"


def test_every_metric_is_on_its_page() -> None:
    page = pages()["metrics.md"]

    assert all(f"| `{declaration.name}` |" in page for declaration in declarations())


@pytest.mark.parametrize("kind", all_classes(), ids=lambda kind: f"{kind.__module__}")
def test_every_setting_has_a_description(kind: type) -> None:
    undescribed = [each.variable for each in list_settings(kind) if not each.meaning]

    assert undescribed == []


def test_every_variable_that_is_marked_as_a_secret_exists() -> None:
    variables = {each.variable for kind in all_classes() for each in list_settings(kind)}

    assert set(SECRET_VARIABLES) <= variables
