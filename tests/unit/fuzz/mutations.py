"""Recorded payloads, torn and twisted: near enough to real ones to get past the first check, and
wrong where nobody looked.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

RECORDED = Path(__file__).parents[2] / "payloads" / "venue"

SECRET = "s3cr3t-that-nobody-may-read"
RAW_VALUES = (
    "null", "true", "false", "0", "-1", "1", "0.1", "-0.0", "1e999", "1E-999", "NaN", "Infinity", "-Infinity", str(2**63), str(-(2**63)),
    str(2**256), "1" * 400, "[]", "{}", '""', '" "', '"0"', '"-1"', '"NaN"', '"sNaN"', '"Infinity"', '"1e999999"', '"1e-30"',
    '"0.999999999"',
    '"1"', '"0x"', '"0x00"', '"\\u0000"', '"\\ud800"', '"\\u0663"', '"\\uff11"', '"\\u202e"', '"BUY"', '"SELL"', '"buy"',
    '"2026-01-01T00:00:00Z"', '"9999-12-31T23:59:59Z"', '"' + "A" * 3000 + '"', '"' + "9" * 100 + '"', "[" * 40 + "]" * 40,
    '{"a":[{"b":null}]}', f'"{SECRET}"',
)  # fmt: skip
"""JSON, so also numbers that no float and no database holds."""

SNIPPETS = ("{", "}", "[", "]", '"', ",", ":", "\\", "\x00", "é", "-", "e", "PONG", "\n")

Place = tuple[Any, Any]
"""A list or an object, and an index or a name in it."""


def load_recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())


def mutate(rng: Random, payloads: Sequence[Any]) -> str:
    """One of the payloads as JSON text, with up to three values changed; one of six is torn as a
    text too.
    """
    value = {"": deepcopy(rng.choice(payloads))}
    raw: list[str] = []
    for _ in range(rng.randint(0, 3)):
        _change(rng, value, raw)
    text = json.dumps(value.get(""))
    for number, given in enumerate(raw):
        text = text.replace(f'"@@{number}@@"', given)
    return _damage_text(rng, text) if rng.randint(0, 5) == 0 else text


def _change(rng: Random, root: Any, raw: list[str]) -> None:
    places = list(_list_places(root))
    if not places:
        return
    inside, at = rng.choice(places)
    match rng.randint(0, 5):
        case 0 | 1 | 2:
            raw.append(rng.choice(RAW_VALUES))
            inside[at] = f"@@{len(raw) - 1}@@"
        case 3:
            del inside[at]
        case 4:
            other, there = rng.choice(places)
            inside[at] = deepcopy(other[there]) if isinstance(other, list | dict) else None
        case _:
            inside[at] = [inside[at], inside[at]]


def _list_places(value: Any) -> Sequence[Place]:
    found: list[Place] = []
    inner: list[Any] = [value]
    while inner:
        here = inner.pop()
        for at in list(here) if isinstance(here, dict) else range(len(here)):
            found.append((here, at))
            if isinstance(here[at], list | dict):
                inner.append(here[at])
    return found


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
