"""Maps keys to partitions, and tells which keys belong to this instance."""

from collections.abc import Iterable, Sequence

from aiokafka import TopicPartition
from aiokafka.partitioner import murmur2

MAX_CACHED_HASHES = 100_000


class Partitioner:
    """Kafka's default partitioner (murmur2) with a cache of the hashes.

    aiokafka computes the hash in Python, and few keys make most of the traffic.
    """

    def __init__(self) -> None:
        self._hash_by_key: dict[bytes, int] = {}

    def __call__(self, key: bytes, all_partitions: Sequence[int], available: Sequence[int]) -> int:
        return self.partition(key, len(all_partitions))

    def partition(self, key: bytes, partitions: int) -> int:
        hashed = self._hash_by_key.get(key)
        if hashed is None:
            if len(self._hash_by_key) >= MAX_CACHED_HASHES:
                self._hash_by_key.clear()
            hashed = self._hash_by_key[key] = murmur2(key) & 0x7FFFFFFF
        return hashed % partitions


class Ownership:
    """The partitions that are assigned to this instance now.

    Feeds use it to handle only the keys of this instance.
    """

    def __init__(self) -> None:
        self._partitioner = Partitioner()
        self._count_by_topic: dict[str, int] = {}
        self.partitions: frozenset[TopicPartition] = frozenset()
        self.is_assigned = False
        """False during a rebalance. True where no partition is left for this instance."""

    def owns(self, key: bytes, topic: str) -> bool:
        """Whether a message with ``key`` on ``topic`` would be delivered to this instance.

        False during a rebalance.
        """
        number = self.partition(key, topic)
        return number is not None and TopicPartition(topic, number) in self.partitions

    def partition(self, key: bytes, topic: str) -> int | None:
        """Return the partition of ``key``. None: nothing has been assigned yet."""
        count = self._count_by_topic.get(topic)
        return None if count is None else self._partitioner.partition(key, count)

    def partition_count(self, topic: str) -> int | None:
        """Return how many partitions ``topic`` has. None: nothing has been assigned yet."""
        return self._count_by_topic.get(topic)

    def partitions_of_topic(self, topic: str) -> frozenset[int]:
        """Return this instance's partitions of ``topic``."""
        return frozenset(each.partition for each in self.partitions if each.topic == topic)

    def assign(
        self, partitions: Iterable[TopicPartition], *, count_by_topic: dict[str, int]
    ) -> None:
        self.partitions = frozenset(partitions)
        self._count_by_topic = count_by_topic
        self.is_assigned = True

    def revoke(self) -> None:
        self.partitions = frozenset()
        self.is_assigned = False
