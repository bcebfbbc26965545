"""Leases of every partition, for tests of what may only be written under one."""

from datetime import timedelta

from aiokafka import TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.leases import Leases
from shared.messages.intents import IntentApproved
from shared.streams.partitioning import Ownership

PARTITIONS = 4


def owning_all() -> Ownership:
    ownership = Ownership()
    topic = IntentApproved.topic
    ownership.assign(
        [TopicPartition(topic, number) for number in range(PARTITIONS)],
        count_by_topic={topic: PARTITIONS},
    )
    return ownership


async def executor_leases(
    engine: AsyncEngine, holder: str = "test", *, lasts: timedelta = timedelta(hours=1)
) -> Leases:
    """Held from now on, without being renewed."""
    leases = Leases(
        engine,
        owning_all(),
        service="executor",
        topic=IntentApproved.topic,
        holder=holder,
        duration=lasts,
    )
    await leases.refresh()
    return leases
