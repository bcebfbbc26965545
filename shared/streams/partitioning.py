"""Which partition is a key's, and which keys are this instance's?"""

from collections.abc import Iterable, Sequence

from aiokafka import TopicPartition
from aiokafka.partitioner import murmur2

MOST_REMEMBERED = 100_000


class Partitioner:
    """Kafka's default partitioner (murmur2), which remembers: aiokafka computes it in Python, and
    few keys make most of the traffic.
    """

    def __init__(self) -> None:
        self._hash_by_key: dict[bytes, int] = {}

    def __call__(self, key: bytes, all_partitions: Sequence[int], available: Sequence[int]) -> int:
        return self.partition(key, len(all_partitions))

    def partition(self, key: bytes, partitions: int) -> int:
        hashed = self._hash_by_key.get(key)
        if hashed is None:
            if len(self._hash_by_key) >= MOST_REMEMBERED:
                self._hash_by_key.clear()
            hashed = self._hash_by_key[key] = murmur2(key) & 0x7FFFFFFF
        return hashed % partitions


class Ownership:
    """The partitions that this instance holds at this moment. Feeds ask it which keys they are to
    look after.
    """

    def __init__(self) -> None:
        self._partitioner = Partitioner()
        self._count_by_topic: dict[str, int] = {}
        self.partitions: frozenset[TopicPartition] = frozenset()

    def owns(self, key: bytes, topic: str) -> bool:
        """Whether a message with ``key`` on ``topic`` would come to this instance. False while
        partitions are being handed over.
        """
        number = self.partition(key, topic)
        return number is not None and TopicPartition(topic, number) in self.partitions

    def partition(self, key: bytes, topic: str) -> int | None:
        """Which partition a message with ``key`` goes to. None: nothing has been assigned yet."""
        count = self._count_by_topic.get(topic)
        return None if count is None else self._partitioner.partition(key, count)

    def held(self, topic: str) -> frozenset[int]:
        """This instance's partitions of ``topic``."""
        return frozenset(each.partition for each in self.partitions if each.topic == topic)

    def assign(
        self, partitions: Iterable[TopicPartition], *, count_by_topic: dict[str, int]
    ) -> None:
        self.partitions = frozenset(partitions)
        self._count_by_topic = count_by_topic

    def revoke(self) -> None:
        self.partitions = frozenset()
