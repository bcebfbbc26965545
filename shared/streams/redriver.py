"""Puts dead letters that are due into the queues of their keys, for the assigned partitions."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiokafka import TopicPartition

from shared.domain.errors import Transient
from shared.streams.assignment import PartitionAssignment
from shared.streams.dead_letter_store import BlockedKeys, DeadLetterStore, StoredDeadLetter
from shared.streams.key_queues import Delivery

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0


class Redriver:
    """Checks for dead letters that are due, every second and after every assignment."""

    def __init__(
        self,
        dead_letters: DeadLetterStore,
        blocked_keys: BlockedKeys,
        service: str,
        *,
        assignments: Mapping[TopicPartition, PartitionAssignment],
        is_known: Callable[[StoredDeadLetter], bool],
        put: Callable[[Delivery], None],
    ) -> None:
        self._dead_letters, self._blocked_keys, self._service = dead_letters, blocked_keys, service
        self._assignments, self._is_known, self._put = assignments, is_known, put
        self._unknown: set[int] = set()
        """Numbers of dead letters that this release does not know, so that each is checked once."""
        self._queued: dict[int, PartitionAssignment] = {}
        """The dead letters in a key queue, by number, with the assignment they were queued under;
        they are dropped with it."""
        self._check_requested = asyncio.Event()

    def on_assigned(self) -> None:
        """Check at once, with nothing kept from before the assignment."""
        self._blocked_keys.invalidate()
        self._check_requested.set()

    def on_processed(self, dead_letter: StoredDeadLetter) -> None:
        self._queued.pop(dead_letter.number, None)

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self._check_requested.clear()
            try:
                await self._blocked_keys.refresh()
                await self._enqueue_due()
            except Transient as error:
                logger.warning("dead letters could not be checked: %s", error)
            try:
                async with asyncio.timeout(CHECK_INTERVAL_S):
                    await self._check_requested.wait()
            except TimeoutError:
                continue

    async def _enqueue_due(self) -> None:
        open_ = {at: each for at, each in self._assignments.items() if each.is_open}
        due = await self._load_due(open_) if open_ else ()
        self._queued = {number: each for number, each in self._queued.items() if each.is_open}
        for dead_letter in due:
            assignment = open_[TopicPartition(dead_letter.topic, dead_letter.partition)]
            if dead_letter.number not in self._queued and assignment.is_open:
                self._queued[dead_letter.number] = assignment
                self._put(Delivery(assignment, dead_letter, dead_letter))

    async def _load_due(self, partitions: Iterable[TopicPartition]) -> Sequence[StoredDeadLetter]:
        """Load what is due, without unknown ones and those that wait behind an unknown one."""
        while True:
            due = await self._dead_letters.load_due(
                self._service, partitions, unknown=self._unknown
            )
            unknown = {dead_letter.number for dead_letter in due if not self._is_known(dead_letter)}
            if not unknown:
                return due
            self._unknown |= unknown
