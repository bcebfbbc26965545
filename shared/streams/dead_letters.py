"""Builds the dead letter of a record that can never be handled, and limits how many there may be.

A dead letter is published on the topic ``dead-letters`` with its reason, and the offset moves on.
The limit stops a bad release, which would otherwise park a whole topic.
"""

import base64
from collections import deque
from datetime import UTC, datetime, timedelta

from shared.messages.dead_letters import DeadLetter
from shared.streams.codec import Record, with_values

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TooManyDeadLetters(Exception):
    """So many messages could not be handled that this release must be at fault.

    The process stops, and the offset of the message that exceeded the limit does not move.
    """


class DeadLetterLimit:
    """Allows at most ``limit`` dead letters in any ``window_s`` seconds."""

    def __init__(self, *, limit: int, window_s: float) -> None:
        self._limit, self._window_s = limit, window_s
        self._times: deque[float] = deque()

    def count(self, now: float) -> None:
        """Count one more dead letter at ``now``, in seconds. Raises: TooManyDeadLetters."""
        while self._times and self._times[0] <= now - self._window_s:
            self._times.popleft()
        if len(self._times) >= self._limit:
            raise TooManyDeadLetters(
                f"{self._limit} messages in {self._window_s:.0f} s could not be handled: "
                "is this release broken?"
            )
        self._times.append(now)


def build_dead_letter(record: Record, *, service: str, reason: str) -> DeadLetter:
    """Return the same message for the same record, however often the record is parked."""
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
    """Return the record's time, or 1970 where it is out of range: brokers accept any timestamp."""
    try:
        return EPOCH + timedelta(milliseconds=record.timestamp)
    except OverflowError:
        return EPOCH
