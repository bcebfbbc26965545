"""Each service routes every message type of its topics.

A type without a route would wait for a newer release.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from tests.unit.messages.samples import SAMPLES

APPS = sorted(
    path
    for folder in services.__path__
    for path in Path(folder).glob("*/app.py")
    if "routes=" in path.read_text()
)
MESSAGES = {type(message).__name__: type(message) for message, _ in SAMPLES}


def routed_types(app: Path, argument: str = "routes") -> Iterator[str]:
    """Yield the types of the routes in a service's app.py: of the argument itself, or of the
    function that builds it.
    """
    for node in ast.walk(ast.parse(app.read_text())):
        is_argument = isinstance(node, ast.keyword) and node.arg == argument
        is_builder = isinstance(node, ast.FunctionDef) and node.name == f"build_{argument}"
        if is_argument or is_builder:
            routes = next((each for each in ast.walk(node) if isinstance(each, ast.Dict)), None)
            keys = routes.keys if routes is not None else ()
            yield from (key.id for key in keys if isinstance(key, ast.Name))


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.parent.name)
def test_a_service_has_a_route_for_every_type_on_its_topics(app: Path) -> None:
    names = set(routed_types(app))
    topics = {MESSAGES[name].topic for name in names}

    assert names == {name for name, kind in MESSAGES.items() if kind.topic in topics} != set()


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.parent.name)
def test_a_type_that_is_handled_in_batches_has_an_ordinary_route_too(app: Path) -> None:
    assert set(routed_types(app, "batch_routes")) <= set(routed_types(app))


def test_all_services_are_checked() -> None:
    assert len(APPS) == 6
