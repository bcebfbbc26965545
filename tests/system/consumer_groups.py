"""Where each service stands on each of its input topics, and how it is set back there."""

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
"""Topics by consumer group: those of the messages that its routes name."""

GROUP_IS_EMPTY_WITHIN_S = 180
"""A static member's place is kept until its session times out."""

Offsets = dict[TopicPartition, int]
ResetPosition = Callable[[int, int], int]
"""The offset to go back to, of a partition's first one and of its end."""


def earliest(first: int, _: int) -> int:
    return first


def middle(first: int, end: int) -> int:
    return (first + end) // 2


async def fetch_lag(settings: KafkaSettings) -> int:
    """Messages that some service has not finished."""
    behind = 0
    for group in INPUT_TOPICS_BY_GROUP:
        async with _group_consumer(settings, group) as consumer:
            for partition, end in (
                await consumer.end_offsets(_partitions(settings, group))
            ).items():
                behind += end - (await consumer.committed(partition) or 0)
    return behind


async def fetch_end_offsets(settings: KafkaSettings) -> Offsets:
    """How far every input topic has been written."""
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


async def reset_offsets(settings: KafkaSettings, edge: ResetPosition) -> int:
    """Every group, on each of its input topics. Returns how many messages will be delivered again."""
    again = 0
    for group in INPUT_TOPICS_BY_GROUP:
        async with _group_consumer(settings, group) as consumer:
            partitions = _partitions(settings, group)
            first, end = (
                await consumer.beginning_offsets(partitions),
                await consumer.end_offsets(partitions),
            )
            goals = {partition: edge(first[partition], end[partition]) for partition in partitions}
            await eventually(
                partial(_try_commit, consumer, goals),
                within=GROUP_IS_EMPTY_WITHIN_S,
                what=f"nobody left in the group {group}",
            )
            again += sum(end[partition] - goal for partition, goal in goals.items())
    return again


async def _try_commit(consumer: AIOKafkaConsumer, goals: Offsets) -> bool:
    """Refused as long as the group has members."""
    try:
        await consumer.commit(goals)
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
    """Speaks for the group without joining it."""
    consumer = AIOKafkaConsumer(**settings.client(), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(_partitions(settings, group))
        yield consumer
    finally:
        await consumer.stop()
