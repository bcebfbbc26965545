"""A hop by our own loop, as every service runs it: decoded and encoded by pydantic, in the order of
each key, traced and counted.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import ClassVar

import uvloop

from shared.messages.base import Message
from shared.streams.loop import MessageLoop
from shared.streams.producer import Producer
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters


class Sample(Message):
    """What all contestants carry."""

    topic: ClassVar[str] = ""
    who: str
    padding: str

    def key(self) -> bytes:
        return self.who.encode()


def on_topic(topic: str) -> type[Sample]:
    return type("Sample", (Sample,), {"topic": topic, "__module__": __name__})


async def hop(bootstrap: str, source: str, target: str) -> None:
    taken, given = on_topic(source), on_topic(target)

    async def on_sample(sample: Sample) -> Sequence[Message]:
        return [
            given(
                message_id=sample.message_id,
                occurred_at=sample.occurred_at,
                who=sample.who,
                padding=sample.padding,
            )
        ]

    settings = KafkaSettings(bootstrap_servers=bootstrap)
    async with Producer(settings) as producer:
        await MessageLoop(
            "our-message-loop",
            {taken: on_sample},
            settings=settings,
            producer=producer,
            dead_letters=MemoryDeadLetters(),
        ).run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(hop(*sys.argv[1:]))
