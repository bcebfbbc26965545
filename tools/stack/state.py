"""The state that a running stack publishes for other processes: one JSON file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One started part: its port, None if it has none, and its log."""

    name: str
    pid: int
    port: int | None
    log: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A stack that is ready; `environment` holds the variables by which services find it."""

    pid: int
    environment: dict[str, str]
    parts: tuple[PartState, ...]


def write_state(folder: Path, state: StackState) -> None:
    """Publish the state atomically."""
    partial = folder / f"{FILE_NAME}.partial"
    partial.write_text(json.dumps(asdict(state), indent=2) + "\n")
    os.replace(partial, folder / FILE_NAME)


def read_state(folder: Path) -> StackState | None:
    """Return the published state, None if there is none.

    It may be that of a killed stack: compare its pid with the holder of the folder's lock.
    """
    file = folder / FILE_NAME
    if not file.exists():
        return None
    state = json.loads(file.read_text())
    return StackState(
        pid=state["pid"],
        environment=state["environment"],
        parts=tuple(PartState(**part) for part in state["parts"]),
    )


def remove_state(folder: Path) -> None:
    """Withdraw the published state."""
    (folder / FILE_NAME).unlink(missing_ok=True)
