"""What came from outside and cannot be understood."""

from typing import ClassVar

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
