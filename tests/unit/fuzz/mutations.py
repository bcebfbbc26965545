"""Mutates recorded payloads: they are similar enough to real ones to pass the first checks of a
parser, and have wrong values inside or damaged text.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

RECORDED = Path(__file__).parents[2] / "payloads" / "venue"

SECRET = "s3cr3t-that-must-not-be-logged"
RAW_VALUES = (
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "0.1",
    "-0.0",
    "1e999",
    "1E-999",
    "NaN",
    "Infinity",
    "-Infinity",
    str(2**63),
    str(-(2**63)),
    str(2**256),
    "1" * 400,
    "[]",
    "{}",
    '""',
    '" "',
    '"0"',
    '"-1"',
    '"NaN"',
    '"sNaN"',
    '"Infinity"',
    '"1e999999"',
    '"1e-30"',
    '"0.999999999"',
    '"1"',
    '"0x"',
    '"0x00"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\u0663"',
    '"\\uff11"',
    '"\\u202e"',
    '"BUY"',
    '"SELL"',
    '"buy"',
    '"2026-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59Z"',
    '"' + "A" * 3000 + '"',
    '"' + "9" * 100 + '"',
    "[" * 40 + "]" * 40,
    '{"a":[{"b":null}]}',
    f'"{SECRET}"',
)
"""As JSON text, so that there are also numbers that no float and no database column can hold."""

SNIPPETS = ("{", "}", "[", "]", '"', ",", ":", "\\", "\x00", "é", "-", "e", "PONG", "\n")

Place = tuple[Any, Any]
"""A list or an object, and an index or a key in it."""


def load_recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


def mutate(rng: Random, payloads: Sequence[Any]) -> str:
    """One of the payloads as JSON text, with up to three values changed. In one case of six the
    text is damaged too.
    """
    value = {"": deepcopy(rng.choice(payloads))}
    raw_values: list[str] = []
    for _ in range(rng.randint(0, 3)):
        _change(rng, value, raw_values)
    text = json.dumps(value.get(""))
    for index, raw in enumerate(raw_values):
        text = text.replace(f'"@@{index}@@"', raw)
    return _damage_text(rng, text) if rng.randint(0, 5) == 0 else text


def _change(rng: Random, root: Any, raw_values: list[str]) -> None:
    """Change one value. A raw value gets a placeholder, and is appended to ``raw_values``."""
    places = list(_list_places(root))
    if not places:
        return
    parent, key = rng.choice(places)
    match rng.randint(0, 5):
        case 0 | 1 | 2:
            parent[key] = f"@@{len(raw_values)}@@"
            raw_values.append(rng.choice(RAW_VALUES))
        case 3:
            del parent[key]
        case 4:
            other, other_key = rng.choice(places)
            parent[key] = deepcopy(other[other_key]) if isinstance(other, list | dict) else None
        case _:
            parent[key] = [parent[key], parent[key]]


def _list_places(value: Any) -> Sequence[Place]:
    places: list[Place] = []
    unvisited: list[Any] = [value]
    while unvisited:
        parent = unvisited.pop()
        for key in list(parent) if isinstance(parent, dict) else range(len(parent)):
            places.append((parent, key))
            if isinstance(parent[key], list | dict):
                unvisited.append(parent[key])
    return places


def _damage_text(rng: Random, text: str) -> str:
    at = rng.randint(0, len(text))
    match rng.randint(0, 3):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + rng.choice(SNIPPETS) + text[at:]
        case 2:
            return text[:at] + text[at + 1 :]
        case _:
            return rng.choice(SNIPPETS) * rng.randint(0, 50)
