"""How do parked messages come back: in the lane of their key, where the partition is ours, as soon
as they may?
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from aiokafka import TopicPartition

from shared.domain.errors import Transient
from shared.streams.assignment import PartitionAssignment
from shared.streams.dead_letter_store import BlockedKeys, DeadLetterStore, StoredDeadLetter
from shared.streams.key_queues import Delivery

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class Redriver:
    """Looks for parked messages whose time has come, once a second and after every assignment."""

    def __init__(
        self,
        parking: DeadLetterStore,
        parked_keys: BlockedKeys,
        service: str,
        *,
        tenures: Mapping[TopicPartition, PartitionAssignment],
        knows: Callable[[StoredDeadLetter], bool],
        put: Callable[[Delivery], None],
    ) -> None:
        self._parking, self._parked_keys, self._service = parking, parked_keys, service
        self._tenures, self._knows, self._put = tenures, knows, put
        self._unknown: set[int] = set()
        """The letters that this release does not know: found to be so once, not once a second."""
        self._under_way: dict[int, PartitionAssignment] = {}
        """The letters that are in a lane, and under which tenure: one that ended takes them along.
        """
        self._wanted = asyncio.Event()

    def look_again(self) -> None:
        self._parked_keys.forget()
        self._wanted.set()

    def left_its_lane(self, letter: StoredDeadLetter) -> None:
        self._under_way.pop(letter.number, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wanted.clear()
            try:
                await self._parked_keys.look()
                await self._put_what_is_due()
            except Transient as error:
                log.warning("parked messages cannot be looked at: %s", error)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def _put_what_is_due(self) -> None:
        ours = {partition: tenure for partition, tenure in self._tenures.items() if tenure.open}
        due = await self._due(ours) if ours else ()
        self._under_way = {
            number: tenure for number, tenure in self._under_way.items() if tenure.open
        }
        for letter in due:
            tenure = ours[TopicPartition(letter.topic, letter.partition)]
            if letter.number not in self._under_way and tenure.open:
                self._under_way[letter.number] = tenure
                self._put(Delivery(tenure, letter, letter))

    async def _due(self, partitions: Iterable[TopicPartition]) -> Sequence[StoredDeadLetter]:
        """Without what this release does not know, nor what waits behind that."""
        while True:
            due = await self._parking.due(self._service, partitions, unknown=self._unknown)
            unknown = {letter.number for letter in due if not self._knows(letter)}
            if not unknown:
                return due
            self._unknown |= unknown
