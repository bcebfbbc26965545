"""The reasons for which a loop is not live or not ready."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.streams.backoff import Backoff
from shared.streams.loop import MessageLoop
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from tests.unit.streams.fake_kafka import FakeConsumer, FakeKafka, FakeProducer
from tests.unit.streams.test_loop_properties import Task, a_task, settle

SETTINGS = KafkaSettings(
    bootstrap_servers="none", revocation_timeout_ms=1, drain_timeout_ms=1, stuck_after_s=120
)


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class LoopUnderTest:
    """A loop on a fake Kafka with one message, and a clock that the test sets."""

    loop: MessageLoop
    consumer: FakeConsumer
    clock: Clock

    def live(self) -> tuple[str, ...]:
        return self.loop.health().live

    def ready(self) -> tuple[str, ...]:
        return self.loop.health().ready


@asynccontextmanager
async def running_loop(handle: Any) -> AsyncIterator[LoopUnderTest]:
    kafka, clock = FakeKafka("tasks", 1), Clock()
    kafka.append(0, a_task("anna", 1))
    consumer = FakeConsumer(kafka)
    loop = MessageLoop(
        "service",
        {Task: handle},
        settings=SETTINGS,
        producer=FakeProducer(acknowledges=True, on_publish=lambda _: None),
        dead_letters=MemoryDeadLetters(),
        backoff=Backoff(first_s=3_600, max_s=3_600),
        build_consumer=lambda *_: consumer,
        clock=clock,
        wall_clock=clock,
    )
    running = asyncio.create_task(loop.run())
    await settle()
    yield LoopUnderTest(loop, consumer, clock)
    loop.stop()
    await running


async def hang(_: Task) -> Sequence[Message]:
    await asyncio.Event().wait()
    return []


async def fail(_: Task) -> Sequence[Message]:
    raise Transient("not now")


async def test_before_partitions_are_assigned_the_loop_is_live_but_not_ready() -> None:
    async with running_loop(hang) as subject:
        subject.clock.now += 1_000

        assert subject.live() == ()
        assert subject.ready() == ("no partitions assigned",)


async def test_a_stuck_handler_makes_the_loop_not_live() -> None:
    async with running_loop(hang) as subject:
        await subject.consumer.rebalance([0])
        await settle()
        assert subject.live() == ()

        subject.clock.now += 121
        subject.consumer.return_empty()
        await settle()

        assert subject.live() == ("a handler of tasks/0 runs for 121 s",)


async def test_a_stuck_handler_makes_the_loop_not_live_even_after_its_partition_was_revoked() -> (
    None
):
    async with running_loop(hang) as subject:
        await subject.consumer.rebalance([0])
        await settle()
        await subject.consumer.rebalance([0])

        subject.clock.now += 121
        subject.consumer.return_empty()
        await settle()

        assert subject.live() == ("a handler of tasks/0 runs for 121 s",)


async def test_the_time_without_kafka_does_not_count_for_a_stuck_handler() -> None:
    async with running_loop(hang) as subject:
        await subject.consumer.rebalance([0])
        subject.consumer.polled_at_ms = int(subject.clock.now * 1000)
        await settle()

        subject.clock.now += 1_000
        subject.consumer.return_empty()
        await settle()
        assert (subject.live(), subject.ready()) == ((), ("Kafka does not answer",))

        subject.clock.now += 120
        subject.consumer.polled_at_ms = int(subject.clock.now * 1000)
        subject.consumer.return_empty()
        await settle()
        assert (subject.live(), subject.ready()) == ((), ())

        subject.clock.now += 1
        assert subject.live() == ("a handler of tasks/0 runs for 1121 s",)


async def test_a_handler_that_waits_for_a_retry_is_not_stuck() -> None:
    async with running_loop(fail) as subject:
        await subject.consumer.rebalance([0])
        await settle()

        subject.clock.now += 1_000
        subject.consumer.return_empty()
        await settle()

        assert subject.live() == ()


async def test_a_loop_that_does_not_poll_is_not_live() -> None:
    async with running_loop(fail) as subject:
        await subject.consumer.rebalance([0])
        await settle()

        subject.clock.now += 121

        assert subject.live() == ("nothing was read from Kafka for 121 s",)


async def test_a_loop_is_ready_once_every_partition_was_read_while_kafka_answers() -> None:
    async with running_loop(fail) as subject:
        await subject.consumer.rebalance([0])
        assert subject.ready() == ("1 partitions have not been read yet",)

        subject.consumer.polled_at_ms = int(subject.clock.now * 1000)
        assert subject.ready() == ()

        subject.clock.now += 6
        assert subject.ready() == ("Kafka does not answer",)


async def test_a_stopping_loop_is_not_ready() -> None:
    async with running_loop(fail) as subject:
        await subject.consumer.rebalance([0])
        subject.consumer.polled_at_ms = int(subject.clock.now * 1000)

        subject.loop.stop()

        assert subject.ready() == ("stopping",)
