"""A key's messages are processed one at a time, in order per topic, and topics take turns."""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from shared.streams.assignment import PartitionAssignment
from shared.streams.key_queues import Delivery, KeyQueues
from shared.testing.waiting import eventually
from tests.unit.streams.fake_kafka import FakeRecord

Position = tuple[bytes, str, int]
KEYS, TOPICS = (b"a", b"b"), ("intents", "reports", "results")


class GatedProcessor:
    """Processes deliveries while its gate is open."""

    def __init__(self, *, gate_open: bool) -> None:
        self.started: list[Position] = []
        self.running: set[bytes] = set()
        self.gate = asyncio.Event()
        if gate_open:
            self.gate.set()
        self.key_queues = KeyQueues(self.process, lambda _, error: self.failures.append(error))
        self.failures: list[BaseException] = []

    async def process(self, delivery: Delivery) -> None:
        key = delivery.record.key or b""
        assert key not in self.running, "two messages of one key at the same time"
        self.running.add(key)
        self.started.append((key, delivery.record.topic, delivery.record.offset))
        await self.gate.wait()
        self.running.discard(key)

    def put(self, positions: Sequence[Position]) -> None:
        for key, topic, offset in positions:
            assignment = PartitionAssignment(TopicPartition(topic, 0))
            self.key_queues.put(Delivery(assignment, FakeRecord(topic, 0, offset, 0, key, b"", [])))


@given(
    given_=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(TOPICS)), max_size=30),
    split=st.integers(0, 30),
)
def test_each_topic_of_a_key_stays_in_order_whatever_arrives_between(
    given_: list[tuple[bytes, str]], split: int
) -> None:
    positions = [(key, topic, number) for number, (key, topic) in enumerate(given_)]

    async def run_all() -> list[Position]:
        processor = GatedProcessor(gate_open=True)
        processor.put(positions[:split])
        await asyncio.sleep(0)
        processor.put(positions[split:])
        await eventually(lambda: len(processor.started) == len(positions))
        assert processor.failures == []
        return processor.started

    begun = asyncio.run(run_all())

    for key in KEYS:
        for topic in TOPICS:
            assert [each for each in begun if each[:2] == (key, topic)] == [
                each for each in positions if each[:2] == (key, topic)
            ]


async def test_an_intent_waits_for_one_report_and_not_for_all_earlier_ones() -> None:
    processor = GatedProcessor(gate_open=False)
    processor.put([(b"a", "reports", number) for number in range(4)])
    await eventually(lambda: processor.started)

    processor.put([(b"a", "intents", 0), (b"a", "intents", 1)])
    processor.gate.set()
    await eventually(lambda: len(processor.started) == 6)

    assert [(topic, number) for _, topic, number in processor.started] == [
        ("reports", 0),
        ("intents", 0),
        ("reports", 1),
        ("intents", 1),
        ("reports", 2),
        ("reports", 3),
    ]
