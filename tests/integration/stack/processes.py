"""Find the processes of this machine that belong to a part."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path


def with_descendants(pids: Collection[int]) -> set[int]:
    """Return these processes and all their descendants, whatever their session or group."""
    family = set(pids)
    parents = dict(_running())
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def alive(pids: Collection[int]) -> set[int]:
    """Return those that run; one that ended and was not waited for does not."""
    return {pid for pid, _ in _running() if pid in pids}


def maps(pid: int, file_name: str) -> bool:
    """Return whether a process has mapped a file with this in its name."""
    return file_name in Path(f"/proc/{pid}/maps").read_text()


def _running() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if state != "Z":
            yield int(stat.parent.name), int(parent)
