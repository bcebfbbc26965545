"""Leases of all partitions, for tests of writes that need one."""

from datetime import timedelta

from aiokafka import TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.leases import Leases
from shared.messages.intents import IntentApproved
from shared.messages.transfers import TransferRequested
from shared.streams.partitioning import Ownership

PARTITIONS = 4


def owning_all_partitions(topic: str = IntentApproved.topic) -> Ownership:
    ownership = Ownership()
    ownership.assign(
        [TopicPartition(topic, number) for number in range(PARTITIONS)],
        count_by_topic={topic: PARTITIONS},
    )
    return ownership


async def executor_leases(
    engine: AsyncEngine, holder: str = "test", *, duration: timedelta = timedelta(hours=1)
) -> Leases:
    """Acquire the leases of all partitions; they are not renewed."""
    leases = Leases(
        engine,
        owning_all_partitions(),
        service="executor",
        topic=IntentApproved.topic,
        holder=holder,
        duration=duration,
    )
    await leases.refresh()
    return leases


async def tx_monitor_leases(
    engine: AsyncEngine, holder: str = "test", *, duration: timedelta = timedelta(hours=1)
) -> Leases:
    """Acquire the leases of all partitions of requests; they are not renewed."""
    topic = TransferRequested.topic
    leases = Leases(
        engine,
        owning_all_partitions(topic),
        service="tx-monitor",
        topic=topic,
        holder=holder,
        duration=duration,
    )
    await leases.refresh()
    return leases
