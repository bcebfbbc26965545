"""Errors of the local stack, with texts that say what to do."""

from __future__ import annotations

import signal
from pathlib import Path

TAIL_LINES = 15


class StackError(Exception):
    """The local stack cannot run; the text says why and what to do about it."""


class PartDied(StackError):
    """A part ended without having been stopped, or did not become ready."""

    def __init__(self, name: str, how: str, log: Path) -> None:
        super().__init__(f"{name} {how}. The end of its log ({log}):\n{read_tail(log)}")
        self.name = name
        self.log = log


def describe_exit(returncode: int) -> str:
    """Return how a process ended, in words: its exit status, or the signal that killed it."""
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with exit status {returncode}"


def read_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, indented; a note if there are none."""
    text = log.read_text(errors="replace") if log.exists() else ""
    last = text.splitlines()[-lines:]
    return "\n".join(f"  {line}" for line in last) or "  (it is empty)"
