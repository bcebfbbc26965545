"""Which processes of this machine belong to a part, itself and all that it started?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path


def with_descendants(pids: Collection[int]) -> set[int]:
    """Return these processes and all that descend from them, whatever session or group those chose
    for themselves.
    """
    found = set(pids)
    parents = dict(_living())
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def alive(pids: Collection[int]) -> set[int]:
    """Return those that live; one that ended and was not waited for does not."""
    return {pid for pid, _ in _living() if pid in pids}


def maps(pid: int, file_name: str) -> bool:
    """Return whether a process has mapped a file whose name contains this."""
    return file_name in Path(f"/proc/{pid}/maps").read_text()


def _living() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if state != "Z":
            yield int(stat.parent.name), int(parent)
