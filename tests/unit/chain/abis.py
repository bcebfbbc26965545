"""Reads ABIs for the tests: what a contract can be asked, and what it says."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def abi_of(compiled: Path) -> list[dict[str, Any]]:
    abi: list[dict[str, Any]] = json.loads(compiled.read_bytes())["abi"]
    return abi


def signatures(abi: Iterable[Mapping[str, Any]]) -> set[str]:
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
