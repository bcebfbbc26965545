"""The routes of a service: a handler for each message type that it consumes."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from shared.messages.base import Message

Handle = Callable[[Any], Awaitable[Sequence[Message]]]
"""``async def on_x(message: X) -> Sequence[Message]``. It is called again for a redelivery and must
return the same messages then."""

Routes = Mapping[type[Message], Handle]
"""Every message type of a subscribed topic has a route. One that the service does not need is
routed to ``ignored`` and never left out."""

Publish = Callable[[Message], Awaitable[None]]
"""Returns when Kafka has acknowledged the message."""

Feed = Callable[[Publish], Coroutine[Any, Any, None]]
"""Runs beside the loop until the process ends and turns what it reads outside into messages."""


async def ignored(_: Message) -> Sequence[Message]:
    """Handle a type that only other consumers of the topic need.

    Such a message is finished without being decoded.
    """
    return ()
