"""Reads ABIs for the tests: the functions, events and errors of a contract."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def load_abi(compiled: Path) -> list[dict[str, Any]]:
    abi: list[dict[str, Any]] = json.loads(compiled.read_bytes())["abi"]
    return abi


def parse_signatures(abi: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return ``name(types)`` of every function, event and error."""
    return {
        f"{entry['name']}({','.join(map(_type, entry['inputs']))})"
        for entry in abi
        if entry["type"] in ("function", "event", "error")
    }


def _type(argument: Mapping[str, Any]) -> str:
    kind: str = argument["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, argument['components']))}){kind.removeprefix('tuple')}"
