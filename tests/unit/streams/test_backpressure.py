"""When a partition is paused, and when it is read again."""

import pytest
from aiokafka import TopicPartition

from shared.streams.assignment import PartitionAssignment
from shared.streams.backpressure import Backpressure
from shared.streams.settings import KafkaSettings

SETTINGS = KafkaSettings(
    bootstrap_servers="none", max_unfinished=100, max_unfinished_per_partition=10
)


def assignments(*unfinished: int) -> dict[TopicPartition, PartitionAssignment]:
    """Partitions with so many unfinished messages each."""
    made = {}
    for number, count in enumerate(unfinished):
        partition = TopicPartition("tasks", number)
        made[partition] = PartitionAssignment(partition)
        for offset in range(count):
            made[partition].add(offset)
    return made


@pytest.mark.parametrize(
    ("unfinished", "is_full", "is_low"),
    [
        ((0, 0), False, True),
        ((99, 0), False, False),
        ((100, 0), True, False),
        ((50, 0), False, True),
        ((9, 200), False, False),
        ((10, 89), False, False),
        ((10, 90), True, False),
        ((5, 200), False, True),
        ((6, 44), False, True),
        ((6, 45), False, False),
    ],
)
def test_the_first_partition_is_full_where_both_limits_are_reached(
    unfinished: tuple[int, ...], is_full: bool, is_low: bool
) -> None:
    made = assignments(*unfinished)
    backpressure = Backpressure(made, SETTINGS)
    first = next(iter(made.values()))

    assert (backpressure.is_full(first), backpressure.is_low(first)) == (is_full, is_low)


def test_partitions_that_are_assigned_later_count() -> None:
    made = assignments(10)
    backpressure = Backpressure(made, SETTINGS)
    (first,) = made.values()
    assert not backpressure.is_full(first)

    made[TopicPartition("tasks", 1)] = assignments(0, 90)[TopicPartition("tasks", 1)]

    assert backpressure.is_full(first)
