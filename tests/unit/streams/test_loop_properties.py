"""No unfinished message is committed, in any order of handling, rebalances and crashes."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.messages.base import Message
from shared.streams.loop import MessageLoop
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from tests.unit.streams.fake_kafka import FakeConsumer, FakeKafka, FakeProducer

PARTITIONS = 3
KAFKA = KafkaSettings(
    bootstrap_servers="none",
    revocation_timeout_ms=1,
    drain_timeout_ms=1,
    max_unfinished=4,
    max_unfinished_per_partition=4,
)


class Task(Message):
    topic: ClassVar[str] = "tasks"
    key_name: str
    number: int

    def key(self) -> bytes:
        return self.key_name.encode()


class Done(Task):
    topic: ClassVar[str] = "done"
    rebalances: int
    """The number of rebalances when the handler started."""


class ServiceUnderTest:
    """A service whose handlers finish and whose process crashes when the test says so."""

    def __init__(self, *, acknowledges: bool) -> None:
        self.kafka = FakeKafka("tasks", PARTITIONS)
        self.producer = FakeProducer(acknowledges=acknowledges, on_publish=self.check_published)
        self.running: dict[str, asyncio.Future[None]] = {}
        self._loop: MessageLoop | None = None

    async def on_task(self, task: Task) -> Sequence[Message]:
        assert task.key_name not in self.running, "two messages of one key at the same time"
        self.running[task.key_name] = asyncio.get_running_loop().create_future()
        rebalances = self.consumer.rebalances
        try:
            await self.running[task.key_name]
        finally:
            del self.running[task.key_name]
        return [Done(**task.model_dump(), rebalances=rebalances)]

    async def start(self) -> None:
        self.consumer = FakeConsumer(self.kafka)
        build: Callable[..., Any] = lambda *_: self.consumer  # noqa: E731
        self._loop = MessageLoop(
            "service",
            {Task: self.on_task},
            settings=KAFKA,
            producer=self.producer,
            dead_letters=MemoryDeadLetters(),
            build_consumer=build,
        )
        self._running = asyncio.create_task(self._loop.run())
        await settle()
        await self.consumer.rebalance(range(PARTITIONS))

    async def crash(self) -> None:
        """Crash as with kill -9: no drain, no last commit."""
        committed = dict(self.kafka.committed)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.kafka.committed = committed
        await self.start()

    async def finish(self, key_name: str) -> None:
        if (future := self.running.get(key_name)) is not None and not future.done():
            future.set_result(None)
        await settle()

    async def stop(self) -> None:
        assert self._loop is not None
        self._loop.stop()
        await self._running

    def check_published(self, messages: Sequence[Done]) -> None:
        assert all(message.rebalances == self.consumer.rebalances for message in messages), (
            "published for a partition that was revoked"
        )

    def check(self) -> None:
        """Check that every committed message is handled and its output acknowledged."""
        done = {(message.key_name, message.number) for message in self.producer.published}
        for records in self.kafka.records_by_partition:
            for record in records:
                if self.kafka.is_committed(record):
                    task = Task.model_validate_json(record.value or b"")
                    assert (task.key_name, task.number) in done, (
                        f"{task} is committed, but not done"
                    )


async def settle() -> None:
    """Let all tasks run until each waits for the test."""
    for _ in range(30):
        await asyncio.sleep(0)


STEPS = st.one_of(
    st.tuples(st.just("arrive"), st.integers(0, 5)),
    st.tuples(st.just("finish"), st.integers(0, 5)),
    st.tuples(st.just("finish"), st.integers(0, 5)),
    st.tuples(st.just("acknowledge"), st.just(0)),
    st.tuples(st.just("rebalance"), st.sets(st.integers(0, PARTITIONS - 1))),
    st.tuples(st.just("crash"), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=40), acknowledges=st.booleans())
@settings(max_examples=100)
def test_no_unfinished_message_is_committed_and_none_is_left(
    steps: list[tuple[str, Any]], *, acknowledges: bool
) -> None:
    asyncio.run(run_steps(steps, acknowledges=acknowledges))


async def run_steps(steps: list[tuple[str, Any]], *, acknowledges: bool) -> None:
    service, total = ServiceUnderTest(acknowledges=acknowledges), 0
    await service.start()
    for verb, what in steps:
        if verb == "arrive":
            service.kafka.append(what % PARTITIONS, a_task(f"key-{what}", total))
            service.consumer.on_append()
            total += 1
            await settle()
        elif verb == "finish":
            await service.finish(f"key-{what}")
        elif verb == "acknowledge":
            service.producer.acknowledge()
            await settle()
        elif verb == "rebalance":
            await service.consumer.rebalance(what)
        else:
            await service.crash()
        service.check()
    await service.consumer.rebalance(range(PARTITIONS))
    await finish_everything(service, total)
    await service.stop()
    service.check()
    assert sum(service.kafka.committed.values()) == total, "everything is committed in the end"


async def finish_everything(service: ServiceUnderTest, total: int) -> None:
    for _ in range(10 * total + 10):
        await settle()
        for key_name in list(service.running):
            await service.finish(key_name)
        service.producer.acknowledge()
    await settle()
    assert len({(done.key_name, done.number) for done in service.producer.published}) == total
    for key, numbers in first_numbers_by_key(service).items():
        assert numbers == sorted(numbers), f"{key} was handled out of order"


def first_numbers_by_key(service: ServiceUnderTest) -> dict[str, list[int]]:
    order: dict[str, list[int]] = defaultdict(list)
    for done in service.producer.published:
        if done.number not in order[done.key_name]:
            order[done.key_name].append(done.number)
    return order


def a_task(key_name: str, number: int) -> Task:
    return Task(
        message_id=f"task-{number}",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        key_name=key_name,
        number=number,
    )
