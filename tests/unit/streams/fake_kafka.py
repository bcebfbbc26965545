"""A fake consumer and producer in memory, for scenarios that real Kafka is too slow for."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import ConsumerRebalanceListener, TopicPartition

from shared.messages.base import Message
from shared.streams.codec import encode
from shared.streams.producer import Publication
from shared.streams.routes import Output
from tests.batches import list_messages


class FakeRecord(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass
class FakeKafka:
    """One topic's partitions and one group's committed offsets."""

    topic: str
    partitions: int
    records_by_partition: list[list[FakeRecord]] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.records_by_partition = [[] for _ in range(self.partitions)]

    def append(self, partition: int, message: Message) -> FakeRecord:
        outgoing = encode(message)
        record = FakeRecord(
            self.topic,
            partition,
            len(self.records_by_partition[partition]),
            0,
            outgoing.key,
            outgoing.value,
            outgoing.headers,
        )
        self.records_by_partition[partition].append(record)
        return record

    def is_committed(self, record: FakeRecord) -> bool:
        return record.offset < self.committed.get(record.partition, 0)


class FakeConsumer:
    """The part of AIOKafkaConsumer that the loop uses; the test assigns and revokes partitions."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self._position: dict[int, int] = {}
        self._paused: set[int] = set()
        self._wake_up = asyncio.Event()
        self._listener: ConsumerRebalanceListener | None = None
        self.rebalances = 0
        self.polled_at_ms: int | None = None
        self._returns_empty = False

    def subscribe(self, *, topics: set[str], listener: ConsumerRebalanceListener) -> None:
        self._listener = listener

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def rebalance(self, partitions: Iterable[int]) -> None:
        """Rebalance as aiokafka does.

        All partitions are revoked, nothing is read meanwhile, and then the new ones are read from
        their committed offsets.
        """
        assert self._listener is not None
        held = {TopicPartition(self._kafka.topic, partition) for partition in self._position}
        self._paused = set(self._position)
        await self._listener.on_partitions_revoked(held)
        self.rebalances += 1
        self._position = {
            partition: self._kafka.committed.get(partition, 0) for partition in partitions
        }
        self._paused = set()
        await self._listener.on_partitions_assigned(
            {TopicPartition(self._kafka.topic, partition) for partition in self._position}
        )
        self._wake_up.set()

    async def getmany(self, *, timeout_ms: int) -> Mapping[TopicPartition, Sequence[FakeRecord]]:
        while not (batches := self._fetch()) and not self._returns_empty:
            self._wake_up.clear()
            await self._wake_up.wait()
        self._returns_empty = False
        return batches

    def return_empty(self) -> None:
        """Make ``getmany`` return nothing, as the real one does at its timeout."""
        self._returns_empty = True
        self._wake_up.set()

    def on_append(self) -> None:
        self._wake_up.set()

    def pause(self, partition: TopicPartition) -> None:
        self._paused.add(partition.partition)

    def resume(self, partition: TopicPartition) -> None:
        self._paused.discard(partition.partition)
        self._wake_up.set()

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        await asyncio.sleep(0)
        assert {each.partition for each in offsets} <= set(self._position), (
            "an offset of a partition that is not assigned was committed"
        )
        self._kafka.committed.update({each.partition: offset for each, offset in offsets.items()})

    def partitions_for_topic(self, _: str) -> set[int]:
        return set(range(self._kafka.partitions))

    def last_poll_timestamp(self, _: TopicPartition) -> int | None:
        return self.polled_at_ms

    def _fetch(self) -> dict[TopicPartition, Sequence[FakeRecord]]:
        batches: dict[TopicPartition, Sequence[FakeRecord]] = {}
        for partition in self._position.keys() - self._paused:
            if records := self._kafka.records_by_partition[partition][self._position[partition] :]:
                self._position[partition] += len(records)
                batches[TopicPartition(self._kafka.topic, partition)] = records
        return batches


class FakeProducer:
    """Records published messages, which it acknowledges at once or when the test says so."""

    def __init__(self, *, acknowledges: bool, on_publish: Callable[[Sequence[Any]], None]) -> None:
        self.on_publish = on_publish
        self.published: list[Any] = []
        self._acknowledges = acknowledges
        self._acknowledged = asyncio.Event()

    async def publish_batch(self, publications: Sequence[Publication]) -> None:
        await asyncio.gather(*map(self._publish, publications))

    async def _publish(self, publication: Publication) -> None:
        await self.publish_all(publication.messages)
        publication.on_acknowledged()

    async def publish_all(self, outputs: Sequence[Output]) -> None:
        messages = list_messages(outputs)
        self.on_publish(messages)
        if not self._acknowledges:
            await self._acknowledged.wait()
        self.published += messages

    def acknowledge(self) -> None:
        """Acknowledge every message that waits for it."""
        self._acknowledged.set()
        self._acknowledged = asyncio.Event()
