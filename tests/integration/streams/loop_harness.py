"""What the tests of the stream engine are made of: a message, a loop beside the test, and a look at
what Kafka has.
"""

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
from shared.streams.loop import MessageLoop
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.routes import Routes
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from shared.testing.waiting import eventually

PARTITIONS = 4


class Said(Message):
    """Somebody said something."""

    topic: ClassVar[str] = ""
    who: str
    what: str

    def key(self) -> bytes:
        return self.who.encode()


def on_topic(name: str, topic: str) -> type[Said]:
    """A message type of its own for one test's topic."""
    return type(name, (Said,), {"topic": topic, "__module__": __name__})


def said(kind: type[Said], who: str, what: object) -> Said:
    return kind(
        message_id=f"{who}:{what}",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        who=who,
        what=str(what),
    )


class WatchedOwnership(Ownership):
    """Counts how often everything was given back."""

    def __init__(self) -> None:
        super().__init__()
        self.revocations = 0

    def revoke(self) -> None:
        super().revoke()
        self.revocations += 1


@dataclass(kw_only=True)
class Running:
    """A loop that runs beside the test."""

    loop: MessageLoop
    ownership: WatchedOwnership
    task: asyncio.Task[None]
    failure_expected: bool = False

    async def ready(self) -> None:
        await eventually(
            lambda: self.task.done() or not self.loop.health().ready, what="the loop is ready"
        )
        if self.task.done():
            self.task.result()

    async def stop(self) -> None:
        self.loop.stop()
        await self.task

    async def failure(self) -> str:
        """What stopped the loop."""
        self.failure_expected = True
        await asyncio.wait((self.task,), timeout=20)
        return repr(self.task.exception())


@dataclass(kw_only=True)
class LoopHarness:
    """One test's topics and group on a cluster."""

    settings: KafkaSettings
    producer: Producer
    heard: type[Said]
    answered: type[Said]
    group: str
    parking: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    running: list[Running] = field(default_factory=list)

    def start(
        self,
        routes: Routes,
        *,
        backoff: Backoff | None = None,
        producer: Any = None,
        **changed: Any,
    ) -> Running:
        """Start an instance of the service. ``changed``: settings of its own."""
        ownership = WatchedOwnership()
        loop = MessageLoop(
            self.group,
            routes,
            settings=self.settings.model_copy(update=changed),
            producer=producer or self.producer,
            dead_letters=self.parking,
            ownership=ownership,
            backoff=backoff or Backoff(first_s=0.02, max_s=0.1),
        )
        running = Running(loop=loop, ownership=ownership, task=asyncio.create_task(loop.run()))
        self.running.append(running)
        return running

    async def say(self, who: str, *whats: object) -> None:
        await self.producer.publish_all([said(self.heard, who, what) for what in whats])

    async def send_raw(self, key: bytes | None, value: bytes, **headers: bytes) -> None:
        async with AIOKafkaProducer(**self.settings.client()) as producer:
            await producer.send_and_wait(
                self.heard.topic, value, key=key, headers=list(headers.items())
            )

    async def committed(self) -> Mapping[TopicPartition, int]:
        async with admin(self.settings) as client:
            offsets = await client.list_consumer_group_offsets(self.group)
        return {partition: at.offset for partition, at in offsets.items() if at.offset > 0}

    async def passed(self, count: int) -> None:
        """Wait until the group's committed offsets have passed exactly ``count`` messages."""

        async def passed() -> bool:
            self.check()
            return sum((await self.committed()).values()) == count

        await eventually(passed)

    async def answers(self, count: int) -> Sequence[str]:
        """What was answered, once there are ``count`` answers, in the order of each key."""
        return [
            self.answered.model_validate_json(record.value).what
            for record in await records(self.settings, self.answered.topic, count)
        ]

    async def dead_letters(self, count: int) -> Sequence[DeadLetter]:
        """This test's dead letters, once there are ``count``."""
        found: list[DeadLetter] = []
        async with reading(self.settings, DeadLetter.topic) as batches:
            async for batch in batches:
                letters = [DeadLetter.model_validate_json(record.value) for record in batch]
                found += [letter for letter in letters if letter.service == self.group]
                if len(found) >= count:
                    return found
        raise AssertionError("reading never ends by itself")

    def check(self) -> None:
        """Raises what stopped a loop that was to go on."""
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
async def reading(
    settings: KafkaSettings, topic: str
) -> AsyncIterator[AsyncIterator[Sequence[ConsumerRecord]]]:
    """All records of a topic from its beginning, batch by batch, for at most 20 seconds."""
    consumer = AIOKafkaConsumer(topic, **settings.client(), auto_offset_reset="earliest")

    async def batches() -> AsyncIterator[Sequence[ConsumerRecord]]:
        while True:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                yield batch

    async with asyncio.timeout(20):
        await consumer.start()
        try:
            yield batches()
        finally:
            await consumer.stop()


async def records(settings: KafkaSettings, topic: str, count: int) -> Sequence[ConsumerRecord]:
    """The records of a topic, once there are ``count``, in the order of each partition."""
    found: list[ConsumerRecord] = []
    async with reading(settings, topic) as batches:
        async for batch in batches:
            found += batch
            if len(found) >= count:
                break
    return found


async def _known(client: AIOKafkaAdminClient, names: Sequence[str]) -> bool:
    return set(names) <= set(await client.list_topics())


async def create_topics(
    settings: KafkaSettings,
    *names: str,
    replicas: int = 1,
    configs: Mapping[str, str] | None = None,
) -> None:
    async with admin(settings) as client:
        existing = await client.list_topics()
        fresh = [
            NewTopic(name, PARTITIONS, replicas, topic_configs=dict(configs or {}))
            for name in names
            if name not in existing
        ]
        if fresh:
            await client.create_topics(fresh)
            await eventually(
                lambda: _known(client, names),
                what="the new topics are known to the broker that is asked",
            )
