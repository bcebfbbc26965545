"""Tracks the heartbeats of API keys, and finds the keys whose heartbeats have stopped.

Heartbeats are optional at the venue: a key is tracked from its first heartbeat on. All its orders
are cancelled about ten seconds after its last one.
"""

import uuid
from dataclasses import dataclass

SILENCE_TIMEOUT_MS = 10_000


class WrongHeartbeat(Exception):
    """The heartbeat's id is not the one of the last reply; ``expected`` is that one."""

    def __init__(self, expected: str) -> None:
        super().__init__("Invalid Heartbeat ID")
        self.expected = expected


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heartbeat:
    id: str
    at_ms: int
    count: int


class Heartbeats:
    """The last heartbeat of every tracked key."""

    def __init__(self) -> None:
        self._last: dict[str, _Heartbeat] = {}

    def record(self, key: str, heartbeat_id: str, *, now_ms: int) -> str:
        """Record a heartbeat and return the id that the next one must have; the first has the empty
        id. Raises: WrongHeartbeat.
        """
        last = self._last.get(key)
        expected = last.id if last else ""
        if heartbeat_id != expected:
            raise WrongHeartbeat(expected)
        count = last.count + 1 if last else 1
        next_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key}:{now_ms}:{count}"))
        self._last[key] = _Heartbeat(id=next_id, at_ms=now_ms, count=count)
        return next_id

    def remove_silent(self, *, now_ms: int) -> list[str]:
        """The keys without a heartbeat within the timeout; they are tracked no longer."""
        silent = [
            key for key, beat in self._last.items() if now_ms - beat.at_ms >= SILENCE_TIMEOUT_MS
        ]
        for key in silent:
            del self._last[key]
        return silent
