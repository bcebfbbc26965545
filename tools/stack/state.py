"""What does the running stack tell other processes about itself? One JSON file, whole or absent."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One started part: where it listens and where its log lies."""

    name: str
    pid: int
    port: int | None
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A stack that became ready; `environment` is what services need to find it."""

    pid: int
    environment: dict[str, str]
    parts: tuple[PartState, ...]


def write_state(folder: Path, state: StackState) -> None:
    """Tell the state, in one step."""
    partial = folder / f"{FILE_NAME}.partial"
    partial.write_text(json.dumps(asdict(state), indent=2) + "\n")
    os.replace(partial, folder / FILE_NAME)


def read_state(folder: Path) -> StackState | None:
    """Return what was told last, None if nothing is. It may be stale: ask the folder's lock who
    lives.
    """
    file = folder / FILE_NAME
    if not file.exists():
        return None
    told = json.loads(file.read_text())
    return StackState(
        pid=told["pid"],
        environment=told["environment"],
        parts=tuple(PartState(**part) for part in told["parts"]),
    )


def remove_state(folder: Path) -> None:
    """Tell nothing any more."""
    (folder / FILE_NAME).unlink(missing_ok=True)
