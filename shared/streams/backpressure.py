"""Decides when a partition is paused because too many of its messages are unfinished."""

from collections.abc import Mapping

from aiokafka import TopicPartition

from shared.streams.assignment import PartitionAssignment
from shared.streams.settings import KafkaSettings


class Backpressure:
    """A partition may have many unfinished messages as long as all partitions together have few:
    they may be the queue of one key, and the partition's other keys must not wait until that is
    worked off.
    """

    def __init__(
        self,
        assignments: Mapping[TopicPartition, PartitionAssignment],
        settings: KafkaSettings,
    ) -> None:
        """``assignments``: those of this instance now, as they change."""
        self._assignments = assignments
        self._in_all = settings.max_unfinished
        self._per_partition = settings.max_unfinished_per_partition

    def is_full(self, assignment: PartitionAssignment) -> bool:
        """Whether nothing more of the partition may be taken."""
        return assignment.unfinished >= self._per_partition and self._sum() >= self._in_all

    def is_low(self, assignment: PartitionAssignment) -> bool:
        """Whether a partition that was paused may be read again."""
        return assignment.unfinished * 2 <= self._per_partition or self._sum() * 2 <= self._in_all

    def _sum(self) -> int:
        return sum(each.unfinished for each in self._assignments.values())
