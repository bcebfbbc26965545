"""Blocked keys are never older than the last assignment; dead letters follow their state."""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import pytest
from aiokafka import TopicPartition

from shared.domain.errors import InvalidMessage, Transient
from shared.messages.base import Message
from shared.observe.metrics import REGISTRY
from shared.streams.assignment import PartitionAssignment
from shared.streams.backoff import Backoff
from shared.streams.codec import Record
from shared.streams.dead_letter_store import BlockedKeys, DeadLetterState
from shared.streams.dead_letters import DeadLetterLimit
from shared.streams.key_queues import Delivery
from shared.streams.message_processor import MessageProcessor
from shared.streams.routes import Handle
from shared.testing.dead_letters import MemoryDeadLetters
from tests.unit.streams.fake_kafka import FakeKafka, FakeProducer
from tests.unit.streams.test_loop_properties import Task, a_task

PARTITION = TopicPartition(Task.topic, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    topic: str = "money"
    partition: int = 0
    offset: int = 7
    timestamp: int = 0
    key: bytes = b"anna"
    value: bytes = b""
    headers: tuple[tuple[str, bytes], ...] = ()


class SlowDeadLetters(MemoryDeadLetters):
    """Returns the keys of the moment when they were requested, once the test lets it."""

    def __init__(self) -> None:
        super().__init__(frozenset({"money"}))
        self.requested, self.may_return = asyncio.Event(), asyncio.Event()

    async def load_open_keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        keys = await super().load_open_keys(service)
        self.requested.set()
        await self.may_return.wait()
        return keys


async def test_a_refresh_that_began_before_an_assignment_is_not_used_after_it() -> None:
    dead_letters = SlowDeadLetters()
    blocked_keys = BlockedKeys(dead_letters, "service")
    refresh = asyncio.create_task(blocked_keys.refresh())
    await dead_letters.requested.wait()

    await dead_letters.park(
        StoredRecord(), service="service", reason="by the previous owner", waiting=False
    )
    blocked_keys.invalidate()
    dead_letters.may_return.set()
    await refresh

    with pytest.raises(Transient):
        blocked_keys.is_blocked(StoredRecord(offset=8))
    await blocked_keys.refresh()
    assert blocked_keys.is_blocked(StoredRecord(offset=8))


async def test_a_dead_letter_that_is_discarded_while_it_is_queued_is_not_handled() -> None:
    handled: list[Message] = []

    async def on_task(task: Task) -> Sequence[Message]:
        handled.append(task)
        return []

    dead_letters = MemoryDeadLetters(frozenset({Task.topic}))
    await park_task(dead_letters)
    dead_letters.redrive(1)
    (dead_letter,) = await dead_letters.load_due("service", [PARTITION])

    dead_letters.discard(1)
    await build_processor(on_task, dead_letters).process(
        Delivery(PartitionAssignment(PARTITION), dead_letter, dead_letter)
    )

    assert handled == []
    assert dead_letters.entries[0].state is DeadLetterState.DISCARDED


@pytest.mark.parametrize(("redriven", "count"), [(True, 1), (False, 0)])
async def test_only_a_dead_letter_that_an_operator_redrove_is_counted_as_redriven(
    redriven: bool, count: int
) -> None:
    async def on_task(_: Task) -> Sequence[Message]:
        return []

    dead_letters = MemoryDeadLetters(frozenset({Task.topic}))
    await park_task(dead_letters, waiting=not redriven)
    if redriven:
        dead_letters.redrive(1)
    (dead_letter,) = await dead_letters.load_due("service", [PARTITION])

    before = counter("slipstream_messages_redriven_total", topic=Task.topic)
    await build_processor(on_task, dead_letters).process(
        Delivery(PartitionAssignment(PARTITION), dead_letter, dead_letter)
    )

    assert dead_letters.entries[0].state is DeadLetterState.REDRIVEN
    assert counter("slipstream_messages_redriven_total", topic=Task.topic) - before == count


async def test_a_message_is_counted_as_parked_once_however_often_its_storing_is_retried() -> None:
    class UnreachableDeadLetters(MemoryDeadLetters):
        attempts = 0

        async def park(self, record: Record, *, service: str, reason: str, waiting: bool) -> None:
            self.attempts += 1
            if self.attempts < 3:
                raise Transient("the database does not answer")
            await super().park(record, service=service, reason=reason, waiting=waiting)

    async def on_task(_: Task) -> Sequence[Message]:
        raise InvalidMessage("it makes no sense")

    def parked() -> float:
        return counter(
            "slipstream_messages_parked_total", topic=Task.topic, reason="InvalidMessage"
        )

    dead_letters, before = UnreachableDeadLetters(), parked()
    delivery = Delivery(
        PartitionAssignment(PARTITION), FakeKafka(Task.topic, 1).append(0, a_task("anna", 1))
    )
    await build_processor(on_task, dead_letters).process(delivery)

    assert (dead_letters.attempts, len(dead_letters.entries), parked() - before) == (3, 1, 1)


def counter(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def park_task(dead_letters: MemoryDeadLetters, *, waiting: bool = False) -> None:
    record = FakeKafka(Task.topic, 1).append(0, a_task("anna", 1))
    await dead_letters.park(record, service="service", reason="it came too early", waiting=waiting)


def build_processor(on_task: Handle, dead_letters: MemoryDeadLetters) -> MessageProcessor:
    return MessageProcessor(
        "service",
        {Task: on_task},
        producer=FakeProducer(acknowledges=True, on_publish=lambda _: None),
        dead_letters=dead_letters,
        blocked_keys=BlockedKeys(dead_letters, "service"),
        on_finished=lambda _: None,
        dead_letter_limit=DeadLetterLimit(limit=1, window_s=60),
        backoff=Backoff(first_s=0.001),
        clock=lambda: 0,
    )
