"""Handles a message as the loop does whose service has a batch route for it."""

from collections.abc import Awaitable, Sequence
from typing import Any

from shared.domain.errors import MessageError
from shared.messages.base import Message
from shared.streams.routes import BatchHandle, Handle, Received


def in_batches(batch: BatchHandle, alone: Handle) -> Handle:
    """Handle each message as a batch of one, and alone where the batch does not decide it."""

    async def handle(message: Any) -> Sequence[Message]:
        try:
            (outcome,) = await batch([Received(message=message, traceparent=None)])
            decided = await outcome if isinstance(outcome, Awaitable) else outcome
        except MessageError:
            decided = None
        return await alone(message) if decided is None else decided

    return handle
