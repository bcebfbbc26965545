"""What is known of parked messages is never older than the last assignment, nor than the moment
before one is handled.
"""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    topic: str = "money"
    partition: int = 0
    offset: int = 7
    timestamp: int = 0
    key: bytes = b"anna"
    value: bytes = b""
    headers: tuple[tuple[str, bytes], ...] = ()


class SlowParking(MemoryDeadLetters):
    """Answers with what it had when it was asked, once the test lets it."""

    def __init__(self) -> None:
        super().__init__(frozenset({"money"}))
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        found = await super().keys(service)
        self.asked.set()
        await self.may_answer.wait()
        return found


async def test_a_look_from_before_an_assignment_tells_nothing_of_what_came_with_it() -> None:
    parking = SlowParking()
    known = BlockedKeys(parking, "service")
    looking = asyncio.create_task(known.look())
    await parking.asked.wait()

    await parking.park(
        Said(),
        service="service",
        reason="by the instance that had the partition until now",
        waits=False,
    )
    known.forget()
    parking.may_answer.set()
    await looking

    with pytest.raises(Transient):
        known.hold_up(Said(offset=8))
    await known.look()
    assert known.hold_up(Said(offset=8))


async def test_a_message_that_is_discarded_on_its_way_to_its_handler_does_not_get_there() -> None:
    handled: list[Message] = []

    async def on_task(task: Task) -> Sequence[Message]:
        handled.append(task)
        return []

    parking, record = (
        MemoryDeadLetters(frozenset({Task.topic})),
        FakeKafka(Task.topic, 1).append(0, a_task("anna", 1)),
    )
    await parking.park(record, service="service", reason="it came too early", waits=False)
    parking.redrive(1)
    (letter,) = await parking.due("service", [TopicPartition(Task.topic, 0)])

    parking.discard(1)
    await handling(on_task, parking).carry_out(
        Delivery(PartitionAssignment(TopicPartition(Task.topic, 0)), letter, letter)
    )

    assert handled == []
    assert parking.kept[0].state is DeadLetterState.DISCARDED


async def test_a_message_is_counted_as_parked_once_however_often_its_keeping_is_tried() -> None:
    class Away(MemoryDeadLetters):
        attempts = 0

        async def park(self, record: Record, *, service: str, reason: str, waits: bool) -> None:
            self.attempts += 1
            if self.attempts < 3:
                raise Transient("the database is away")
            await super().park(record, service=service, reason=reason, waits=waits)

    async def on_task(_: Task) -> Sequence[Message]:
        raise InvalidMessage("nobody understands it")

    def counted() -> float:
        labels = {"topic": Task.topic, "reason": "InvalidMessage"}
        return REGISTRY.get_sample_value("slipstream_messages_parked_total", labels) or 0

    parking, before = Away(), counted()
    work = Delivery(
        PartitionAssignment(TopicPartition(Task.topic, 0)),
        FakeKafka(Task.topic, 1).append(0, a_task("anna", 1)),
    )
    await handling(on_task, parking).carry_out(work)

    assert (parking.attempts, len(parking.kept), counted() - before) == (3, 1, 1)


def handling(on_task: Handle, parking: MemoryDeadLetters) -> MessageProcessor:
    return MessageProcessor(
        "service",
        {Task: on_task},
        producer=FakeProducer(prompt=True, on_publish=lambda _: None),
        parking=parking,
        parked_keys=BlockedKeys(parking, "service"),
        finished=lambda _: None,
        allowance=DeadLetterLimit(limit=1, window_s=60),
        backoff=Backoff(first_s=0.001),
        clock=lambda: 0,
    )
