"""An instance of a service as a process of its own, for tests that kill it: answers every message
with its own name.

python -m tests.integration.streams.member NAME GROUP HEARD_TOPIC ANSWERED_TOPIC
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shared.messages.base import Message
from shared.settings import read
from shared.streams.producer import Producer
from shared.streams.service import Process, Service, run
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from tests.integration.streams.loop_harness import Said, on_topic, said

log = logging.getLogger(__name__)


def main() -> None:
    name, group, heard_topic, answered_topic = sys.argv[1:]
    heard, answered = on_topic("Heard", heard_topic), on_topic("Answered", answered_topic)

    async def on_heard(message: Said) -> Sequence[Message]:
        if message.what == "a bug":
            raise RuntimeError
        if message.what == "hang":
            await asyncio.Event().wait()
        if message.what == "answer when Kafka is away":
            log.warning("waits until Kafka is away")
            await until_refused(read(KafkaSettings).bootstrap_servers)
        return [said(answered, message.who, f"{name} heard {message.what}")]

    @asynccontextmanager
    async def compose(process: Process) -> AsyncIterator[Service]:
        async with Producer(process.kafka) as producer:
            yield Service(
                producer=producer,
                dead_letters=MemoryDeadLetters(),
                routes={heard: on_heard},
                produces=(answered,),
            )

    run(group, compose)


async def until_refused(address: str) -> None:
    host, _, port = address.rpartition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            return
        writer.close()


if __name__ == "__main__":
    main()
