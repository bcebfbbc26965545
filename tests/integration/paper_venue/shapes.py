"""Compares the shapes of payloads.

A shape is the payload with every value replaced by the name of its format, so that the actual
market, price or time does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_FORMATS = {
    "": "",
    "epoch milliseconds": r"1\d{12}",
    "epoch seconds": r"1\d{9}",
    "token id": r"\d{40,78}",
    "decimal": r"\d+(\.\d+)?",
    "32 bytes": r"0x[0-9a-f]{64}",
    "address": r"0x[0-9a-fA-F]{40}",
    "sha1": r"[0-9a-f]{40}",
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "iso time": r"\d{4}-\d\d-\d\dT.*",
    "json list": r"\[.*\]",
}


def describe_shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: describe_shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [describe_shape(inner) for inner in value]
    if isinstance(value, str):
        return next(
            (name for name, pattern in _FORMATS.items() if re.fullmatch(pattern, value, re.DOTALL)),
            "text",
        )
    return {bool: "boolean", int: "number", float: "number", type(None): "null"}[type(value)]


def differences(real: Any, ours: Any, path: str = "") -> set[str]:
    """One line for each place where the payloads' shapes differ."""
    return set(_differences(describe_shape(real), describe_shape(ours), path))


def _differences(real: Any, ours: Any, path: str) -> Iterator[str]:
    if isinstance(real, dict) and isinstance(ours, dict):
        for key in real.keys() | ours.keys():
            inner = f"{path}.{key}" if path else key
            if key not in ours:
                yield f"{inner}: missing"
            elif key not in real:
                yield f"{inner}: added"
            else:
                yield from _differences(real[key], ours[key], inner)
    elif isinstance(real, list) and isinstance(ours, list):
        for index in range(min(len(real), len(ours), 1)):
            yield from _differences(real[index], ours[index], f"{path}[]")
    elif not _is_same(real, ours):
        yield f"{path}: {_name(real)}, ours {_name(ours)}"


def _is_same(real: Any, ours: Any) -> bool:
    """Whether two formats are equal; an empty text equals any text."""
    return (
        bool(real == ours or {real, ours} == {"", "text"})
        if isinstance(real, str) and isinstance(ours, str)
        else False
    )


def _name(shape: Any) -> str:
    if isinstance(shape, dict):
        return "object"
    if isinstance(shape, list):
        return "list"
    return str(shape) or "empty"
