"""What came from outside and cannot be understood."""

from typing import ClassVar

from pydantic import Base64Bytes

from shared.messages.base import Message

LONGEST_FRAME = 20_000
"""Characters kept of a frame: enough of any real one."""


class FrameParked(Message):
    """A frame of a feed that could not be parsed, kept with the reason. Nothing is dropped in
    silence.
    """

    topic: ClassVar[str] = "dead-letters"
    feed: str
    reason: str
    frame: str

    def key(self) -> bytes:
        return self.feed.encode()


class DeadLetter(Message):
    """A record that a service could not handle, whole, and why. It occurred when the record was
    written.
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
    """Byte for byte, in base64, so that it can be put back where it came from."""
    record_headers: tuple[tuple[str, Base64Bytes], ...]

    def key(self) -> bytes:
        """With the letters of the same key: its own order is kept here too."""
        return self.record_key
