"""The consumer of one instance of a service."""

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from shared.streams.settings import KafkaSettings

METADATA_MAX_AGE_MS = 10_000
"""aiokafka 0.14 asks a partition's old leader for the start offset until it refreshes its metadata.
By default that takes five minutes, during which a partition without a committed offset would not be
read."""


def build_consumer(service: str, settings: KafkaSettings) -> AIOKafkaConsumer:
    """Build the consumer of one instance of a service; the consumer group is the service."""
    return AIOKafkaConsumer(
        **settings.client(),
        request_timeout_ms=settings.request_timeout_ms,
        group_id=service,
        group_instance_id=settings.group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # It assigns the same partition numbers of all topics to one instance, so that a key has one
        # queue for all topics.
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 4,
        rebalance_timeout_ms=settings.revocation_timeout_ms + 10_000,
        # aiokafka has one running fetch per broker, without the partitions that were paused when it
        # was sent: a resumed partition waits for its end.
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
    )
