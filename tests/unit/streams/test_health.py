"""When does a loop say that it does not live, or is not ready?"""

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
    """A loop on a fake Kafka with one message, at a time that the test sets."""

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


async def test_before_partitions_are_assigned_it_lives_but_is_not_ready() -> None:
    async with running_loop(hang) as it:
        it.clock.now += 1_000

        assert it.live() == ()
        assert it.ready() == ("no partitions assigned",)


async def test_a_stuck_handler_is_no_life() -> None:
    async with running_loop(hang) as it:
        await it.consumer.rebalance([0])
        await settle()
        assert it.live() == ()

        it.clock.now += 121
        it.consumer.return_empty()
        await settle()

        assert it.live() == ("a handler of tasks/0 runs for 121 s",)


async def test_a_stuck_handler_is_no_life_also_after_its_partition_was_given_back() -> None:
    async with running_loop(hang) as it:
        await it.consumer.rebalance([0])
        await settle()
        await it.consumer.rebalance([0])

        it.clock.now += 121
        it.consumer.return_empty()
        await settle()

        assert it.live() == ("a handler of tasks/0 runs for 121 s",)


async def test_a_handler_that_waits_for_kafka_is_not_stuck_before_kafka_has_answered_again_for_so_long() -> (
    None
):
    async with running_loop(hang) as it:
        await it.consumer.rebalance([0])
        it.consumer.polled_at_ms = int(it.clock.now * 1000)
        await settle()

        it.clock.now += 1_000
        it.consumer.return_empty()
        await settle()
        assert (it.live(), it.ready()) == ((), ("Kafka does not answer",))

        it.clock.now += 120
        it.consumer.polled_at_ms = int(it.clock.now * 1000)
        it.consumer.return_empty()
        await settle()
        assert (it.live(), it.ready()) == ((), ())

        it.clock.now += 1
        assert it.live() == ("a handler of tasks/0 runs for 1121 s",)


async def test_a_handler_that_backs_off_is_not_stuck() -> None:
    async with running_loop(fail) as it:
        await it.consumer.rebalance([0])
        await settle()

        it.clock.now += 1_000
        it.consumer.return_empty()
        await settle()

        assert it.live() == ()


async def test_a_loop_that_takes_nothing_any_more_is_no_life() -> None:
    async with running_loop(fail) as it:
        await it.consumer.rebalance([0])
        await settle()

        it.clock.now += 121

        assert it.live() == ("nothing was taken from Kafka for 121 s",)


async def test_it_is_ready_when_every_partition_has_been_read_and_not_when_kafka_falls_silent() -> (
    None
):
    async with running_loop(fail) as it:
        await it.consumer.rebalance([0])
        assert it.ready() == ("1 partitions have not been read yet",)

        it.consumer.polled_at_ms = int(it.clock.now * 1000)
        assert it.ready() == ()

        it.clock.now += 6
        assert it.ready() == ("Kafka does not answer",)


async def test_a_loop_that_stops_is_not_ready() -> None:
    async with running_loop(fail) as it:
        await it.consumer.rebalance([0])
        it.consumer.polled_at_ms = int(it.clock.now * 1000)

        it.loop.stop()

        assert it.ready() == ("stopping",)
