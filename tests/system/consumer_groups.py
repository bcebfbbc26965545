"""Reads and resets the offsets of each service's consumer group on its input topics."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually

INPUT_TOPICS_BY_GROUP: Mapping[str, tuple[str, ...]] = {
    "ingest": ("leader-fills",),
    "pricer": ("copy-intents",),
    "preflight": ("quoted-intents", "copy-outcomes"),
    "executor": ("approved-intents", "venue-reports", "chain-results"),
    "tx-monitor": ("chain-requests", "chain-reports"),
    "debt-recovery": ("debts",),
}
"""The topics of the messages that each service's routes name."""

EMPTY_GROUP_TIMEOUT_S = 180
"""Kafka keeps a static member in its group until its session times out."""

Offsets = dict[TopicPartition, int]
ResetPosition = Callable[[int, int], int]
"""The offset to reset to, given a partition's first offset and its end offset."""


def earliest(first: int, _: int) -> int:
    return first


def middle(first: int, end: int) -> int:
    return (first + end) // 2


async def fetch_lag(settings: KafkaSettings) -> int:
    """How many messages the services have not finished, over all groups and topics."""
    messages = 0
    for group in INPUT_TOPICS_BY_GROUP:
        async with _group_consumer(settings, group) as consumer:
            for partition, end in (
                await consumer.end_offsets(_partitions(settings, group))
            ).items():
                messages += end - (await consumer.committed(partition) or 0)
    return messages


async def fetch_end_offsets(settings: KafkaSettings) -> Offsets:
    """The end offset of every partition of every input topic."""
    async with _group_consumer(settings, "ingest") as consumer:
        return dict(
            await consumer.end_offsets(
                [
                    partition
                    for group in INPUT_TOPICS_BY_GROUP
                    for partition in _partitions(settings, group)
                ]
            )
        )


async def reset_offsets(settings: KafkaSettings, position: ResetPosition) -> int:
    """Reset every group on each of its input topics. Returns how many messages are redelivered."""
    redelivered = 0
    for group in INPUT_TOPICS_BY_GROUP:
        async with _group_consumer(settings, group) as consumer:
            partitions = _partitions(settings, group)
            first, end = (
                await consumer.beginning_offsets(partitions),
                await consumer.end_offsets(partitions),
            )
            offsets = {
                partition: position(first[partition], end[partition]) for partition in partitions
            }
            await eventually(
                partial(_try_commit, consumer, offsets),
                within=EMPTY_GROUP_TIMEOUT_S,
                what=f"the consumer group {group} without members",
            )
            redelivered += sum(end[partition] - offset for partition, offset in offsets.items())
    return redelivered


async def _try_commit(consumer: AIOKafkaConsumer, offsets: Offsets) -> bool:
    """False while the group has members: Kafka refuses the commit."""
    try:
        await consumer.commit(offsets)
    except KafkaError:
        return False
    return True


def _partitions(settings: KafkaSettings, group: str) -> list[TopicPartition]:
    return [
        TopicPartition(topic, number)
        for topic in INPUT_TOPICS_BY_GROUP[group]
        for number in range(settings.partitions)
    ]


@asynccontextmanager
async def _group_consumer(settings: KafkaSettings, group: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that reads and commits the group's offsets without joining the group."""
    consumer = AIOKafkaConsumer(**settings.client(), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(_partitions(settings, group))
        yield consumer
    finally:
        await consumer.stop()
