"""A type without a route would wait for a release that knows it: within one release there is no
such type.
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


def routed(app: Path) -> Iterator[str]:
    """The types of the routes as they stand in the service's composition."""
    for node in ast.walk(ast.parse(app.read_text())):
        if (
            isinstance(node, ast.keyword)
            and node.arg == "routes"
            and isinstance(node.value, ast.Dict)
        ):
            yield from (key.id for key in node.value.keys if isinstance(key, ast.Name))


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.parent.name)
def test_every_type_that_travels_on_a_topic_of_a_service_has_a_route_there(app: Path) -> None:
    names = set(routed(app))
    topics = {MESSAGES[name].topic for name in names}

    assert names == {name for name, kind in MESSAGES.items() if kind.topic in topics} != set()


def test_all_services_are_looked_at() -> None:
    assert len(APPS) == 6
