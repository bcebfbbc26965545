"""Which API keys have promised a sign of life, and which of them have fallen silent?

Optional at the venue: a key is watched from its first heartbeat on. About ten seconds of silence
cancel all its orders.
"""

import uuid
from dataclasses import dataclass

SILENCE_TIMEOUT_MS = 10_000


class WrongHeartbeat(Exception):
    """The heartbeat carries another id than the last answer; ``expected`` is the right one."""

    def __init__(self, expected: str) -> None:
        super().__init__("Invalid Heartbeat ID")
        self.expected = expected


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heartbeat:
    id: str
    at_ms: int
    count: int


class Heartbeats:
    """The last heartbeat of every watched key."""

    def __init__(self) -> None:
        self._last: dict[str, _Heartbeat] = {}

    def record(self, key: str, heartbeat_id: str, *, now_ms: int) -> str:
        """Take a heartbeat, and return the id of the next. The first has the empty id. Raises:
        WrongHeartbeat.
        """
        last = self._last.get(key)
        expected = last.id if last else ""
        if heartbeat_id != expected:
            raise WrongHeartbeat(expected)
        count = last.count + 1 if last else 1
        following = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key}:{now_ms}:{count}"))
        self._last[key] = _Heartbeat(id=following, at_ms=now_ms, count=count)
        return following

    def remove_silent(self, *, now_ms: int) -> list[str]:
        """The keys that have been silent for too long; they are watched no longer."""
        silent = [
            key for key, beat in self._last.items() if now_ms - beat.at_ms >= SILENCE_TIMEOUT_MS
        ]
        for key in silent:
            del self._last[key]
        return silent
