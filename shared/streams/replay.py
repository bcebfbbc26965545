"""Reads a topic again, for debugging and tests.

It uses no consumer group: no offset is committed, and no service is affected.
"""

import heapq
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from shared.streams.settings import KafkaSettings
from shared.streams.topics import fetch_partition_count

Bound = datetime | int | None
"""A time (of the record itself), an offset, or None: the beginning or the end of the topic."""

MAX_POLL_RECORDS = 500


async def replay(
    settings: KafkaSettings,
    topic: str,
    *,
    since: Bound = None,
    until: Bound = None,
    partitions: Collection[int] | None = None,
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records from ``since`` to before ``until``, by default all that exist now.

    Each partition is in its own order; across partitions the records are ordered by their time as
    far as that allows.
    """
    consumer = AIOKafkaConsumer(**settings.client(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        numbers = (
            range(await fetch_partition_count(settings, topic))
            if partitions is None
            else partitions
        )
        selected = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(selected)
        first = await _offsets(
            consumer, selected, since, default=await consumer.beginning_offsets(selected)
        )
        last = await _offsets(
            consumer, selected, until, default=await consumer.end_offsets(selected)
        )
        for partition, offset in first.items():
            consumer.seek(partition, offset)
        async for record in _merged(
            [_PartitionReader(consumer, partition, last[partition]) for partition in selected]
        ):
            yield record
    finally:
        await consumer.stop()


class _PartitionReader:
    """Reads one partition up to an offset."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition, end: int) -> None:
        self._consumer, self._partition, self._end = consumer, partition, end
        self._records: deque[ConsumerRecord] = deque()

    async def next(self) -> ConsumerRecord | None:
        while not self._records:
            # The position and not the last record shows the end: compaction may have removed the
            # last record.
            if await self._consumer.position(self._partition) >= self._end:
                return None
            batches = await self._consumer.getmany(
                self._partition, timeout_ms=200, max_records=MAX_POLL_RECORDS
            )
            self._records += batches.get(self._partition, ())
        record = self._records.popleft()
        return record if record.offset < self._end else None


async def _merged(readers: list[_PartitionReader]) -> AsyncIterator[ConsumerRecord]:
    heads: list[tuple[int, int, ConsumerRecord]] = []
    for number, reader in enumerate(readers):
        if (record := await reader.next()) is not None:
            heads.append((record.timestamp, number, record))
    heapq.heapify(heads)
    while heads:
        _, number, record = heads[0]
        yield record
        if (following := await readers[number].next()) is not None:
            heapq.heapreplace(heads, (following.timestamp, number, following))
        else:
            heapq.heappop(heads)


async def _offsets(
    consumer: AIOKafkaConsumer,
    partitions: Collection[TopicPartition],
    bound: Bound,
    *,
    default: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, int]:
    if bound is None:
        return default
    if isinstance(bound, int):
        return dict.fromkeys(partitions, bound)
    milliseconds = int(bound.timestamp() * 1000)
    offsets = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
    ends = await consumer.end_offsets(partitions)
    return {
        partition: ends[partition] if at is None else at.offset for partition, at in offsets.items()
    }
