"""What the loop does around handlers: with a message whose service has a batch route for it, and
with the traces of outputs.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from shared.domain.errors import MessageError
from shared.messages.base import Message
from shared.streams.routes import BatchHandle, Handle, InTrace, Output, Received


def list_messages(outputs: Sequence[Output]) -> list[Message]:
    """The messages, without their traces."""
    return [each.message if isinstance(each, InTrace) else each for each in outputs]


def in_batches(batch: BatchHandle, alone: Handle) -> Callable[[Any], Awaitable[Sequence[Message]]]:
    """Handle each message as a batch of one, and alone where the batch does not decide it."""

    async def handle(message: Any) -> Sequence[Message]:
        try:
            (outcome,) = await batch([Received(message=message, traceparent=None)])
            decided = await outcome if isinstance(outcome, Awaitable) else outcome
        except MessageError:
            decided = None
        return list_messages(await alone(message) if decided is None else decided)

    return handle
