"""What becomes of a message that can never be handled?

It is parked on the topic ``dead-letters`` with the reason, and passed. Within a limit: a bad
release must stop, not drain a topic.
"""

import base64
from collections import deque
from datetime import UTC, datetime, timedelta

from shared.messages.dead_letters import DeadLetter
from shared.streams.codec import Record, with_values

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class TooManyDeadLetters(Exception):
    """More messages cannot be handled than can be an accident: it is us. The process stops before
    it passes this one.
    """


class DeadLetterLimit:
    """At most ``limit`` in any ``window_s`` seconds."""

    def __init__(self, *, limit: int, window_s: float) -> None:
        self._limit, self._window_s = limit, window_s
        self._taken: deque[float] = deque()

    def take(self, now: float) -> None:
        """Raises: TooManyDeadLetters."""
        while self._taken and self._taken[0] <= now - self._window_s:
            self._taken.popleft()
        if len(self._taken) >= self._limit:
            raise TooManyDeadLetters(
                f"{self._limit} messages in {self._window_s:.0f} s could not be handled: is this release broken?"
            )
        self._taken.append(now)


def dead_letter(record: Record, *, service: str, reason: str) -> DeadLetter:
    """The same for the same record, however often it is parked."""
    headers = with_values(record.headers)
    return DeadLetter(
        message_id=f"{service}:{record.topic}:{record.partition}:{record.offset}",
        occurred_at=_written_at(record),
        service=service,
        reason=reason,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        record_type=dict(headers).get("type", b"").decode("utf-8", "backslashreplace"),
        record_key=base64.b64encode(record.key or b""),
        record_value=base64.b64encode(record.value or b""),
        record_headers=tuple((name, base64.b64encode(value)) for name, value in headers),
    )


def _written_at(record: Record) -> datetime:
    """1970 where the producer dated it beyond all calendars: a broker may keep what it is told."""
    try:
        return BEGINNING + timedelta(milliseconds=record.timestamp)
    except OverflowError:
        return BEGINNING
