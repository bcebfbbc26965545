"""What the loop asks of a service: for each message it consumes, a handler that returns the
messages that follow from it.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from shared.messages.base import Message

Handle = Callable[[Any], Awaitable[Sequence[Message]]]
"""``async def on_x(message: X) -> Sequence[Message]``. Called again for a redelivery: it must
return what it returned before."""

Routes = Mapping[type[Message], Handle]
"""Every type that travels on a subscribed topic has a route; one that is of no interest is routed
to ``ignored``, never left out."""

Publish = Callable[[Message], Awaitable[None]]
"""Returns when Kafka has acknowledged the message."""

Feed = Callable[[Publish], Coroutine[Any, Any, None]]
"""Runs beside the loop for the life of the process and turns what it observes outside into
messages."""


async def ignored(_: Message) -> Sequence[Message]:
    """The route of a type that others on the same topic are interested in. Such a message is
    finished without being decoded.
    """
    return ()
