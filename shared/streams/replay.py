"""What was on a topic? Reads it again, for debugging and tests, without a group: nothing moves and
nobody is disturbed.
"""

import heapq
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from shared.streams.settings import KafkaSettings
from shared.streams.topics import partition_count

Edge = datetime | int | None
"""A moment (the record's own time), an offset, or the end of what there is."""

AT_A_TIME = 500


async def replay(
    settings: KafkaSettings,
    topic: str,
    *,
    since: Edge = None,
    until: Edge = None,
    partitions: Collection[int] | None = None,
) -> AsyncIterator[ConsumerRecord]:
    """The records from ``since`` up to and without ``until``, by default all that there are now.

    In the order of each partition; across partitions by the time of the records, as far as those
    orders allow.
    """
    consumer = AIOKafkaConsumer(**settings.client(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        numbers = (
            range(await partition_count(settings, topic)) if partitions is None else partitions
        )
        wanted = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(wanted)
        first = await _offsets(
            consumer, wanted, since, otherwise=await consumer.beginning_offsets(wanted)
        )
        last = await _offsets(consumer, wanted, until, otherwise=await consumer.end_offsets(wanted))
        for partition, offset in first.items():
            consumer.seek(partition, offset)
        async for record in _merged(
            [_Reading(consumer, partition, last[partition]) for partition in wanted]
        ):
            yield record
    finally:
        await consumer.stop()


class _Reading:
    """One partition up to an offset."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition, end: int) -> None:
        self._consumer, self._partition, self._end = consumer, partition, end
        self._records: deque[ConsumerRecord] = deque()

    async def next(self) -> ConsumerRecord | None:
        while not self._records:
            # The position, not the last record, tells the end: compaction may have taken the last
            # record away.
            if await self._consumer.position(self._partition) >= self._end:
                return None
            batches = await self._consumer.getmany(
                self._partition, timeout_ms=200, max_records=AT_A_TIME
            )
            self._records += batches.get(self._partition, ())
        record = self._records.popleft()
        return record if record.offset < self._end else None


async def _merged(readings: list[_Reading]) -> AsyncIterator[ConsumerRecord]:
    heads: list[tuple[int, int, ConsumerRecord]] = []
    for number, reading in enumerate(readings):
        if (record := await reading.next()) is not None:
            heads.append((record.timestamp, number, record))
    heapq.heapify(heads)
    while heads:
        _, number, record = heads[0]
        yield record
        if (following := await readings[number].next()) is not None:
            heapq.heapreplace(heads, (following.timestamp, number, following))
        else:
            heapq.heappop(heads)


async def _offsets(
    consumer: AIOKafkaConsumer,
    partitions: Collection[TopicPartition],
    edge: Edge,
    *,
    otherwise: Mapping[TopicPartition, int],
) -> Mapping[TopicPartition, int]:
    if edge is None:
        return otherwise
    if isinstance(edge, int):
        return dict.fromkeys(partitions, edge)
    milliseconds = int(edge.timestamp() * 1000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
    ends = await consumer.end_offsets(partitions)
    return {
        partition: ends[partition] if at is None else at.offset for partition, at in found.items()
    }
