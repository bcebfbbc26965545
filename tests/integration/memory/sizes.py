"""How many entries an object of ours holds on to."""

from collections import deque
from collections.abc import Iterator
from typing import Any

OURS = ("services.", "shared.")
CONTAINERS = (dict, set, list, deque)
SAMPLE = 3
"""Of the values of a container, which are alike."""


def largest_container(*roots: object) -> tuple[str, int]:
    """The path and the length of the largest container that can be reached from these objects by
    attributes of our own classes. Doubles of the tests are not looked into.
    """
    sizes = {path: size for root in roots for path, size in _containers(type(root).__name__, root)}
    path = max(sizes, key=lambda each: sizes[each])
    return path, sizes[path]


def _containers(path: str, root: object) -> Iterator[tuple[str, int]]:
    pending, seen = [(path, root)], {id(root)}
    while pending:
        path, found = pending.pop()
        if isinstance(found, CONTAINERS):
            yield path, len(found)
        for name, child in _children(found):
            if id(child) not in seen:
                seen.add(id(child))
                pending.append((f"{path}{name}", child))


def _children(found: object) -> Iterator[tuple[str, object]]:
    if isinstance(found, dict):
        yield from (("[]", value) for value in list(found.values())[:SAMPLE])
    elif isinstance(found, CONTAINERS):
        yield from (("[]", value) for value in list(found)[:SAMPLE])
    elif type(found).__module__.startswith(OURS):
        yield from ((f".{name}", value) for name, value in _attributes(found).items())
    elif callable(found) and (owner := getattr(found, "__self__", None)) is not None:
        yield ".__self__", owner


def _attributes(found: object) -> dict[str, Any]:
    slots = [name for kind in type(found).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(found, name) for name in slots if hasattr(found, name)} | getattr(
        found, "__dict__", {}
    )
