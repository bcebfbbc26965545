"""Commits the offsets of finished messages at intervals, and those of a partition that is given
back at once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from shared.observe import metrics
from shared.streams.assignment import PartitionAssignment

logger = logging.getLogger(__name__)

LAST_COMMIT_TIMEOUT_S = 5.0


class OffsetCommits:
    """The commits of one consumer."""

    def __init__(
        self, assignments: Mapping[TopicPartition, PartitionAssignment], *, interval_s: float
    ) -> None:
        """``assignments``: those of this instance now, as they change."""
        self._assignments, self._interval_s = assignments, interval_s
        self._requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def request(self) -> None:
        """Commit when the interval since the commit before is over."""
        self._requested.set()

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Run until cancelled. Raises: KafkaError that is not retriable."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            self._task = asyncio.create_task(_commit(consumer, self._assignments.values()))
            await asyncio.wait((self._task,))
            if not self._task.cancelled():
                self._task.result()
            await asyncio.sleep(self._interval_s)

    def interrupt(self) -> None:
        """Cancel a commit that is under way."""
        if self._task is not None:
            self._task.cancel()

    async def commit_last(
        self, consumer: AIOKafkaConsumer, assignments: Iterable[PartitionAssignment]
    ) -> None:
        """Commit before ``assignments`` are given back, within ``LAST_COMMIT_TIMEOUT_S``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_commit(consumer, assignments), LAST_COMMIT_TIMEOUT_S)


def report_unfinished(assignment: PartitionAssignment) -> None:
    partition = assignment.partition
    metrics.messages_unfinished(partition.topic, partition.partition, assignment.unfinished)


async def _commit(consumer: AIOKafkaConsumer, assignments: Iterable[PartitionAssignment]) -> None:
    moved = {
        assignment: offset
        for assignment in assignments
        if (offset := assignment.uncommitted) is not None
    }
    if not moved:
        return
    try:
        await consumer.commit(
            {assignment.partition: offset for assignment, offset in moved.items()}
        )
    except (CommitFailedError, IllegalStateError) as error:
        # This instance was removed from the group. What is not committed is delivered again, to the
        # partition's new owner.
        logger.warning("the commit of offsets was refused: %s", error)
        return
    for assignment, offset in moved.items():
        assignment.committed = offset
        report_unfinished(assignment)
