"""An instance of a service in its own process, for tests that kill it.

It replies to every message with its own name.

python -m tests.integration.streams.member NAME GROUP REQUEST_TOPIC REPLY_TOPIC [batches]
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shared.messages.base import Message
from shared.settings import read
from shared.streams.producer import Producer
from shared.streams.routes import Outcome, Received
from shared.streams.service import Process, Service, run
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from tests.integration.streams.loop_harness import ExampleMessage, build_message, build_message_type

logger = logging.getLogger(__name__)


def main() -> None:
    name, group, request_topic, reply_topic, *options = sys.argv[1:]
    request = build_message_type("Request", request_topic)
    reply = build_message_type("Reply", reply_topic)

    async def on_request(message: ExampleMessage) -> Sequence[Message]:
        if message.text == "a bug":
            raise RuntimeError
        if message.text == "hang":
            await asyncio.Event().wait()
        if message.text == "reply when Kafka is down":
            logger.warning("waiting until Kafka is down")
            await wait_until_refused(read(KafkaSettings).bootstrap_servers)
        return [build_message(reply, message.sender, f"{name} received {message.text}")]

    async def on_requests(batch: Sequence[Received[ExampleMessage]]) -> Sequence[Outcome]:
        return [on_request(received.message) for received in batch]

    @asynccontextmanager
    async def compose(process: Process) -> AsyncIterator[Service]:
        async with Producer(process.kafka) as producer:
            yield Service(
                producer=producer,
                dead_letters=MemoryDeadLetters(),
                routes={request: on_request},
                batch_routes={request: on_requests} if "batches" in options else {},
                produces=(reply,),
            )

    run(group, compose)


async def wait_until_refused(address: str) -> None:
    host, _, port = address.rpartition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            return
        writer.close()


if __name__ == "__main__":
    main()
