"""An instance of a service as a process of its own, for tests that kill it: answers every message with its own name.

python -m tests.integration.streams.member NAME GROUP HEARD_TOPIC ANSWERED_TOPIC
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shared.messages.base import Message
from shared.streams.producer import Producer
from shared.streams.service import Process, Service, run
from tests.integration.streams.bench import Said, on_topic, said


def main() -> None:
    name, group, heard_topic, answered_topic = sys.argv[1:]
    heard, answered = on_topic("Heard", heard_topic), on_topic("Answered", answered_topic)

    async def on_heard(message: Said) -> Sequence[Message]:
        if message.what == "a bug":
            raise RuntimeError
        if message.what == "hang":
            await asyncio.Event().wait()
        return [said(answered, message.who, f"{name} heard {message.what}")]

    @asynccontextmanager
    async def compose(process: Process) -> AsyncIterator[Service]:
        async with Producer(process.kafka) as producer:
            yield Service(producer=producer, routes={heard: on_heard}, emits=(answered,))

    run(group, compose)


if __name__ == "__main__":
    main()
