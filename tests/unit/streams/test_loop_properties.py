"""Whatever finishes in whatever order, however often partitions move or the process dies: nothing
is passed that is not done.
"""

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
    max_unfinished_per_partition=4,
)


class Task(Message):
    topic: ClassVar[str] = "tasks"
    who: str
    number: int

    def key(self) -> bytes:
        return self.who.encode()


class Done(Task):
    topic: ClassVar[str] = "done"
    rebalances: int
    """How many there had been when the handler began."""


class ServiceUnderTest:
    """A service whose handlers finish when the test says so, and whose processes die when the test
    says so.
    """

    def __init__(self, *, prompt: bool) -> None:
        self.kafka = FakeKafka("tasks", PARTITIONS)
        self.producer = FakeProducer(acknowledges=prompt, on_publish=self.check_published)
        self.running: dict[str, asyncio.Future[None]] = {}
        self.told: dict[str, list[int]] = defaultdict(list)
        self._loop: MessageLoop | None = None

    async def on_task(self, task: Task) -> Sequence[Message]:
        assert task.who not in self.running, "two messages of one key at once"
        self.running[task.who] = asyncio.get_running_loop().create_future()
        rebalances = self.consumer.rebalances
        try:
            await self.running[task.who]
        finally:
            del self.running[task.who]
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
        """As kill -9 does: no drain, no last commit."""
        committed = dict(self.kafka.committed)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.kafka.committed = committed
        await self.start()

    async def finish(self, who: str) -> None:
        if (future := self.running.get(who)) is not None and not future.done():
            future.set_result(None)
        await settle()

    async def stop(self) -> None:
        assert self._loop is not None
        self._loop.stop()
        await self._running

    def check_published(self, messages: Sequence[Done]) -> None:
        assert all(message.rebalances == self.consumer.rebalances for message in messages), (
            "produced for a partition that was given back"
        )

    def check(self) -> None:
        """Every message below a committed offset has been handled, and its output acknowledged."""
        done = {(message.who, message.number) for message in self.producer.published}
        for records in self.kafka.records_by_partition:
            for record in records:
                if self.kafka.is_committed(record):
                    task = Task.model_validate_json(record.value or b"")
                    assert (task.who, task.number) in done, f"{task} was passed, but is not done"


async def settle() -> None:
    """Let everything that can go on go on."""
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


@given(steps=st.lists(STEPS, max_size=40), prompt=st.booleans())
@settings(max_examples=100)
def test_nothing_is_passed_that_is_not_done_and_nothing_is_left(
    steps: list[tuple[str, Any]], *, prompt: bool
) -> None:
    asyncio.run(run_steps(steps, prompt=prompt))


async def run_steps(steps: list[tuple[str, Any]], *, prompt: bool) -> None:
    world, total = ServiceUnderTest(prompt=prompt), 0
    await world.start()
    for verb, what in steps:
        if verb == "arrive":
            world.kafka.append(what % PARTITIONS, a_task(f"key-{what}", total))
            world.consumer.on_append()
            total += 1
            await settle()
        elif verb == "finish":
            await world.finish(f"key-{what}")
        elif verb == "acknowledge":
            world.producer.acknowledge()
            await settle()
        elif verb == "rebalance":
            await world.consumer.rebalance(what)
        else:
            await world.crash()
        world.check()
    await world.consumer.rebalance(range(PARTITIONS))
    await finish_everything(world, total)
    await world.stop()
    world.check()
    assert sum(world.kafka.committed.values()) == total, "all that is done is passed in the end"


async def finish_everything(world: ServiceUnderTest, total: int) -> None:
    for _ in range(10 * total + 10):
        await settle()
        for who in list(world.running):
            await world.finish(who)
        world.producer.acknowledge()
    await settle()
    assert len({(done.who, done.number) for done in world.producer.published}) == total
    for key, numbers in first_numbers_by_key(world).items():
        assert numbers == sorted(numbers), f"{key} was handled out of order"


def first_numbers_by_key(world: ServiceUnderTest) -> dict[str, list[int]]:
    order: dict[str, list[int]] = defaultdict(list)
    for done in world.producer.published:
        if done.number not in order[done.who]:
            order[done.who].append(done.number)
    return order


def a_task(who: str, number: int) -> Task:
    return Task(
        message_id=f"task-{number}",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        who=who,
        number=number,
    )
