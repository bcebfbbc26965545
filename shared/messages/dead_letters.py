"""Frames of a feed and records of a topic that could not be handled."""

from datetime import datetime
from typing import ClassVar

from pydantic import Base64Bytes

from shared.domain.ids import derived_id
from shared.messages.base import Message

MAX_FRAME_LENGTH = 20_000
"""Characters that are kept of a frame: more than any real frame has."""


class FrameParked(Message):
    """A frame of a feed could not be parsed; it is kept with the reason."""

    topic: ClassVar[str] = "dead-letters"
    feed: str
    reason: str
    frame: str

    def key(self) -> bytes:
        return self.feed.encode()


def park_frame(frame: str, *, feed: str, reason: str, at: datetime) -> FrameParked:
    """Build the message that keeps a frame, cut to ``MAX_FRAME_LENGTH`` characters. The same frame
    gives the same ``message_id``.
    """
    stored = frame[:MAX_FRAME_LENGTH]
    return FrameParked(
        message_id=derived_id("frame", stored),
        occurred_at=at,
        feed=feed,
        reason=reason,
        frame=stored,
    )


class DeadLetter(Message):
    """A service could not handle a record; it is kept whole, with the reason.

    ``occurred_at`` is when the record was written.
    """

    topic: ClassVar[str] = "dead-letters"
    service: str
    reason: str
    source_topic: str
    source_partition: int
    source_offset: int
    record_type: str
    record_key: Base64Bytes
    record_value: Base64Bytes
    """Byte for byte, in base64, so that it can be written to its topic again."""
    record_headers: tuple[tuple[str, Base64Bytes], ...]

    def key(self) -> bytes:
        """The record's own key, so that its dead letters stay in the order of their records."""
        return self.record_key
