"""Messages of one key are handled one after another, each topic's in order, and no topic waits for
another's backlog.
"""

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
    """Carries out one piece of work each time that it is let."""

    def __init__(self, *, open_: bool) -> None:
        self.started: list[Position] = []
        self.busy: set[bytes] = set()
        self.gate = asyncio.Event()
        if open_:
            self.gate.set()
        self.key_queues = KeyQueues(self.process, lambda _, error: self.failures.append(error))
        self.failures: list[BaseException] = []

    async def process(self, work: Delivery) -> None:
        key = work.record.key or b""
        assert key not in self.busy, "two messages of one key at the same time"
        self.busy.add(key)
        self.started.append((key, work.record.topic, work.record.offset))
        await self.gate.wait()
        self.busy.discard(key)

    def put(self, places: Sequence[Position]) -> None:
        for key, topic, offset in places:
            tenure = PartitionAssignment(TopicPartition(topic, 0))
            self.key_queues.put(Delivery(tenure, FakeRecord(topic, 0, offset, 0, key, b"", [])))


@given(
    given_=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(TOPICS)), max_size=30),
    split=st.integers(0, 30),
)
def test_each_topic_of_a_key_stays_in_order_whatever_comes_between(
    given_: list[tuple[bytes, str]], split: int
) -> None:
    places = [(key, topic, number) for number, (key, topic) in enumerate(given_)]

    async def live_through() -> list[Position]:
        desk = GatedProcessor(open_=True)
        desk.put(places[:split])
        await asyncio.sleep(0)
        desk.put(places[split:])
        await eventually(lambda: len(desk.started) == len(places))
        assert desk.failures == []
        return desk.started

    begun = asyncio.run(live_through())

    for key in KEYS:
        for topic in TOPICS:
            assert [each for each in begun if each[:2] == (key, topic)] == [
                each for each in places if each[:2] == (key, topic)
            ]


async def test_an_intent_waits_for_one_report_and_not_for_all_that_came_before_it() -> None:
    desk = GatedProcessor(open_=False)
    desk.put([(b"a", "reports", number) for number in range(4)])
    await eventually(lambda: desk.started)

    desk.put([(b"a", "intents", 0), (b"a", "intents", 1)])
    desk.gate.set()
    await eventually(lambda: len(desk.started) == 6)

    assert [(topic, number) for _, topic, number in desk.started] == [
        ("reports", 0), ("intents", 0), ("reports", 1), ("intents", 1), ("reports", 2), ("reports", 3),
    ]  # fmt: skip
