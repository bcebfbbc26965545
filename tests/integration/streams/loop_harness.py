"""The harness of the message loop's tests: example messages, a running loop, Kafka's state."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.messages.base import Message
from shared.messages.dead_letters import DeadLetter
from shared.streams.backoff import Backoff
from shared.streams.loop import NO_BATCHES, MessageLoop
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.routes import BatchRoutes, Routes
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from shared.testing.waiting import eventually

PARTITIONS = 4


class ExampleMessage(Message):
    """A message with a sender, which is its key, and a text."""

    topic: ClassVar[str] = ""
    sender: str
    text: str

    def key(self) -> bytes:
        return self.sender.encode()


def build_message_type(name: str, topic: str) -> type[ExampleMessage]:
    """Return a message type for one test's topic."""
    return type(name, (ExampleMessage,), {"topic": topic, "__module__": __name__})


def build_message(kind: type[ExampleMessage], sender: str, text: object) -> ExampleMessage:
    return kind(
        message_id=f"{sender}:{text}",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        sender=sender,
        text=str(text),
    )


class CountingOwnership(Ownership):
    """Counts how often the partitions were revoked."""

    def __init__(self) -> None:
        super().__init__()
        self.revocations = 0

    def revoke(self) -> None:
        super().revoke()
        self.revocations += 1


@dataclass(kw_only=True)
class RunningLoop:
    """A message loop that runs beside the test."""

    loop: MessageLoop
    ownership: CountingOwnership
    task: asyncio.Task[None]
    failure_expected: bool = False

    async def wait_until_ready(self) -> None:
        await eventually(
            lambda: self.task.done() or not self.loop.health().ready, what="the loop is ready"
        )
        if self.task.done():
            self.task.result()

    async def stop(self) -> None:
        self.loop.stop()
        await self.task

    async def wait_for_failure(self) -> str:
        """Wait until the loop fails, and return its error."""
        self.failure_expected = True
        await asyncio.wait((self.task,), timeout=120)
        return repr(self.task.exception())


@dataclass(kw_only=True)
class LoopHarness:
    """One test's topics, consumer group and loops on a cluster."""

    settings: KafkaSettings
    producer: Producer
    request: type[ExampleMessage]
    reply: type[ExampleMessage]
    group: str
    dead_letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    running: list[RunningLoop] = field(default_factory=list)

    def start(
        self,
        routes: Routes,
        *,
        backoff: Backoff | None = None,
        producer: Any = None,
        batch_routes: BatchRoutes = NO_BATCHES,
        **changed: Any,
    ) -> RunningLoop:
        """Start an instance of the service; ``changed`` are settings of its own."""
        ownership = CountingOwnership()
        loop = MessageLoop(
            self.group,
            routes,
            settings=self.settings.model_copy(update=changed),
            producer=producer or self.producer,
            dead_letters=self.dead_letters,
            batch_routes=batch_routes,
            ownership=ownership,
            backoff=backoff or Backoff(first_s=0.02, max_s=0.1),
        )
        running = RunningLoop(loop=loop, ownership=ownership, task=asyncio.create_task(loop.run()))
        self.running.append(running)
        return running

    async def send(self, sender: str, *texts: object) -> None:
        await self.producer.publish_all(
            [build_message(self.request, sender, text) for text in texts]
        )

    async def send_raw(self, key: bytes | None, value: bytes, **headers: bytes) -> None:
        async with AIOKafkaProducer(**self.settings.client()) as producer:
            await producer.send_and_wait(
                self.request.topic, value, key=key, headers=list(headers.items())
            )

    async def fetch_committed(self) -> Mapping[TopicPartition, int]:
        async with admin(self.settings) as client:
            offsets = await client.list_consumer_group_offsets(self.group)
        return {partition: at.offset for partition, at in offsets.items() if at.offset > 0}

    async def wait_for_commits(self, count: int) -> None:
        """Wait until exactly ``count`` messages are committed."""

        async def committed() -> bool:
            self.check()
            return sum((await self.fetch_committed()).values()) == count

        await eventually(committed)

    async def fetch_replies(self, count: int) -> Sequence[str]:
        """Return the texts of the replies once there are ``count``, each key's in order."""
        return [
            self.reply.model_validate_json(record.value).text
            for record in await fetch_records(self.settings, self.reply.topic, count)
        ]

    async def fetch_dead_letters(self, count: int) -> Sequence[DeadLetter]:
        """Return this test's dead letters once there are ``count``."""
        dead_letters: list[DeadLetter] = []
        async with read_batches(self.settings, DeadLetter.topic) as batches:
            async for batch in batches:
                read = [DeadLetter.model_validate_json(record.value) for record in batch]
                dead_letters += [each for each in read if each.service == self.group]
                if len(dead_letters) >= count:
                    return dead_letters
        raise AssertionError("the batches ended")

    def check(self) -> None:
        """Raise the error of a loop that stopped unexpectedly."""
        for running in self.running:
            if running.task.done() and not running.failure_expected:
                running.task.result()

    async def close(self) -> None:
        for running in self.running:
            running.loop.stop()
        await asyncio.gather(*(running.task for running in self.running), return_exceptions=True)
        self.check()


@asynccontextmanager
async def admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**settings.client())
    try:
        await client.start()
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def read_batches(
    settings: KafkaSettings, topic: str
) -> AsyncIterator[AsyncIterator[Sequence[ConsumerRecord]]]:
    """Read a topic from its beginning, batch by batch, for at most 120 seconds."""
    consumer = AIOKafkaConsumer(topic, **settings.client(), auto_offset_reset="earliest")

    async def batches() -> AsyncIterator[Sequence[ConsumerRecord]]:
        while True:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                yield batch

    async with asyncio.timeout(120):
        await consumer.start()
        try:
            yield batches()
        finally:
            await consumer.stop()


async def fetch_records(
    settings: KafkaSettings, topic: str, count: int
) -> Sequence[ConsumerRecord]:
    """Return a topic's records once there are ``count``, each partition's in order."""
    records: list[ConsumerRecord] = []
    async with read_batches(settings, topic) as batches:
        async for batch in batches:
            records += batch
            if len(records) >= count:
                break
    return records


async def _are_known(client: AIOKafkaAdminClient, names: Sequence[str]) -> bool:
    return set(names) <= set(await client.list_topics())


async def create_topics(
    settings: KafkaSettings,
    *names: str,
    replicas: int = 1,
    configs: Mapping[str, str] | None = None,
) -> None:
    async with admin(settings) as client:
        existing = await client.list_topics()
        missing = [
            NewTopic(name, PARTITIONS, replicas, topic_configs=dict(configs or {}))
            for name in names
            if name not in existing
        ]
        if missing:
            await client.create_topics(missing)
            await eventually(
                lambda: _are_known(client, names),
                what="the broker knows the new topics",
            )
