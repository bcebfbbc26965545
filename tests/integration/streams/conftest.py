"""A topic of its own for each test, and one service's loop on it."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.messages.base import Message
from shared.streams.backoff import Backoff
from shared.streams.loop import MessageLoop
from shared.streams.producer import Producer
from shared.streams.routes import Routes
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually


class Said(Message):
    """A message of the tests: somebody said something."""

    topic: ClassVar[str] = ""
    who: str
    what: str

    def key(self) -> bytes:
        return self.who.encode()


def said(kind: type[Said], who: str, what: object) -> Said:
    return kind(message_id=f"{who}:{what}", occurred_at=datetime(2026, 1, 1, tzinfo=UTC), who=who, what=str(what))


@dataclass(kw_only=True)
class Running:
    """A loop that runs beside the test."""

    loop: MessageLoop
    task: asyncio.Task[None]
    failure_awaited: bool = False

    async def ready(self) -> None:
        await eventually(lambda: self.task.done() or not self.loop.pulse().ready, what="the loop is ready")
        if self.task.done():
            self.task.result()

    async def stop(self) -> None:
        self.loop.stop()
        await self.task

    async def failure(self) -> BaseException | None:
        """What stopped the loop."""
        self.failure_awaited = True
        await asyncio.wait((self.task,), timeout=20)
        return self.task.exception()


@dataclass(kw_only=True)
class Bench:
    """What a test needs to put messages through a loop on real Kafka."""

    settings: KafkaSettings
    producer: Producer
    heard: type[Said]
    answered: type[Said]
    group: str
    stack: AsyncExitStack
    running: list[Running] = field(default_factory=list)

    async def start(self, routes: Routes, **changed: Any) -> Running:
        """``changed``: settings, or a backoff."""
        backoff = changed.pop("backoff", Backoff(first_s=0.02, longest_s=0.1))
        settings = self.settings.model_copy(update=changed)
        loop = MessageLoop(self.group, routes, settings=settings, producer=self.producer, backoff=backoff)
        running = Running(loop=loop, task=asyncio.create_task(loop.run()))
        self.running.append(running)
        return running

    async def say(self, who: str, what: object) -> None:
        await self.producer.publish(said(self.heard, who, what))

    async def committed(self, topic: str | None = None) -> int:
        """The sum of the group's committed offsets: how many messages are passed."""
        admin = await self.stack.enter_async_context(_admin(self.settings))
        offsets = await admin.list_consumer_group_offsets(self.group)
        return sum(at.offset for partition, at in offsets.items() if topic in (None, partition.topic) and at.offset > 0)

    async def records(self, topic: str, count: int) -> Sequence[ConsumerRecord]:
        """The first ``count`` records of the topic, in the order of each partition."""
        consumer = AIOKafkaConsumer(topic, **self.settings.client(), auto_offset_reset="earliest")
        found: list[ConsumerRecord] = []
        async with consumer, asyncio.timeout(20):
            while len(found) < count:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found += batch
        return found


@contextlib.asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create_topics(settings: KafkaSettings, *names: str, partitions: int, replicas: int = 1, **configs: str) -> None:
    async with _admin(settings) as admin:
        existing = await admin.list_topics()
        fresh = [NewTopic(name, partitions, replicas, topic_configs=configs) for name in names if name not in existing]
        if fresh:
            await admin.create_topics(fresh)


@pytest.fixture
def settings() -> KafkaSettings:
    return KafkaSettings(session_timeout_ms=6_000, revocation_timeout_ms=2_000, drain_timeout_ms=2_000)


@pytest.fixture
async def bench(settings: KafkaSettings) -> AsyncIterator[Bench]:
    name = uuid.uuid4().hex[:8]
    heard = type("Heard", (Said,), {"topic": f"heard-{name}"})
    answered = type("Answered", (Said,), {"topic": f"answered-{name}"})
    await create_topics(settings, heard.topic, answered.topic, partitions=4)
    await create_topics(settings, "dead-letters", partitions=4, **{"max.message.bytes": "4194304"})
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(Producer(settings))
        bench = Bench(settings=settings, producer=producer, heard=heard, answered=answered, group=f"group-{name}", stack=stack)
        yield bench
        for running in bench.running:
            running.loop.stop()
        ended = await asyncio.gather(*(running.task for running in bench.running), return_exceptions=True)
        for running, result in zip(bench.running, ended, strict=True):
            if isinstance(result, Exception) and not running.failure_awaited:
                raise result
