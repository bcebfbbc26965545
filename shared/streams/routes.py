"""The routes of a service: a handler for each message type that it consumes."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from shared.messages.base import Message

M = TypeVar("M", bound=Message)


class InTrace(NamedTuple):
    """A message to publish in another trace than that of the message that led to it."""

    message: Message
    traceparent: str | None
    """None: it is in none."""


Output = Message | InTrace

Handle = Callable[[Any], Awaitable[Sequence[Output]]]
"""``async def on_x(message: X) -> Sequence[Output]``: what is published. It is called again for a
redelivery and must return the same messages then."""

Routes = Mapping[type[Message], Handle]
"""Every message type of a subscribed topic has a route. One that the service does not need is
routed to ``ignored`` and never left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Generic[M]):
    """A message of a batch."""

    message: M
    traceparent: str | None
    """The trace that the message belongs to, for what is written about it. None: it has no trace.
    The loop publishes its outputs in that trace, but for those that are ``InTrace``."""


Outcome = Sequence[Output] | Awaitable[Sequence[Output]] | None
"""What a batch handler has decided about one message: the messages to publish; what returns them,
awaited in a task of its own while the next batches are handled; or None, for a message that its
ordinary route handles, alone, where it may wait as long as it must."""

BatchHandle = Callable[[Sequence[Received[Any]]], Awaitable[Sequence[Outcome]]]
"""``async def on_xs(batch: Sequence[Received[X]]) -> Sequence[Outcome]``: one outcome for each
message, in their order.

A batch has at most one message of a key and at most 500; nothing else of these keys is handled
until the outcomes are finished. A batch handler decides only what needs no waiting, by the same
decisions as the ordinary one. A MessageError that it raises, or that an awaited outcome raises,
sends the messages to their ordinary routes; they may have been handled in part, as with a
redelivery. Anything else stops the process.
"""

BatchRoutes = Mapping[type[Message], BatchHandle]
"""The types that are handled in batches. Each has an ordinary route as well."""

Publish = Callable[[Message], Awaitable[None]]
"""Returns when Kafka has acknowledged the message."""

Feed = Callable[[Publish], Coroutine[Any, Any, None]]
"""Runs beside the loop until the process ends and turns what it reads outside into messages."""


async def ignored(_: Message) -> Sequence[Message]:
    """Handle a type that only other consumers of the topic need.

    Such a message is finished without being decoded.
    """
    return ()
