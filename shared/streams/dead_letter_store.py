"""The store of dead letters: which states they have, and when they are handled again.

A parked message waits for an operator: *redrive* has it handled once more, *discard* gives it up.
Where the topic's declaration says so (``Topic.blocks_key``), later messages with the same key wait
behind it, stored too and in order, because such a message may depend on the one before it. They are
handled without an operator once no open dead letter is ahead of them. On other topics later
messages are handled at once. A message that this release does not know waits as well, for a release
that does and that handles it without an operator.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aiokafka import TopicPartition

from shared.domain.errors import Transient
from shared.observe import metrics
from shared.streams.codec import Record


class DeadLetterState(StrEnum):
    PARKED = "parked"
    """It could not be handled; an operator decides."""
    WAITING = "waiting"
    """It waits behind one of its key, or for a release that knows it."""
    REDRIVING = "redriving"
    """An operator has decided to have it handled again."""
    REDRIVEN = "redriven"
    """It was handled in the end, also where it had only waited."""
    DISCARDED = "discarded"
    """An operator gave it up."""


OPEN_DEAD_LETTER_STATES = (
    DeadLetterState.PARKED,
    DeadLetterState.WAITING,
    DeadLetterState.REDRIVING,
)
"""The dead letter still has to be handled or discarded."""

TO_HANDLE_STATES = (DeadLetterState.WAITING, DeadLetterState.REDRIVING)
"""The dead letter is to be handled as soon as nothing ahead of it prevents that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A stored record, byte for byte.

    It can be processed as a record: its ``offset`` is not a position in the topic but minus its
    number.
    """

    number: int
    topic: str
    partition: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def offset(self) -> int:
        return -self.number


class DeadLetterStore(Protocol):
    """Stores dead letters. Every call raises Transient where the store cannot be reached."""

    @property
    def ordered_topics(self) -> AbstractSet[str]:
        """The topics on which later messages with the key of a dead letter wait behind it."""
        ...

    async def park(self, record: Record, *, service: str, reason: str, waiting: bool) -> None:
        """Store a Kafka record; a record that is stored already stays as it is.

        ``waiting``: it is not parked for an operator but waits (``DeadLetterState.WAITING``).
        """
        ...

    async def load_open_keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        """Return topic and key of every open dead letter of the service."""
        ...

    async def load_due(
        self, service: str, partitions: Iterable[TopicPartition], *, unknown: Collection[int] = ()
    ) -> Sequence[StoredDeadLetter]:
        """Return the dead letters of these partitions to handle now, in order.

        They are the redriving and the waiting ones, on an ordered topic without those that have a
        parked one of their key ahead.

        ``unknown``: the numbers of those that this release does not know. They are not returned,
        and those behind them wait as behind a parked one.
        """
        ...

    async def is_due(self, dead_letter: StoredDeadLetter, *, service: str) -> bool:
        """Whether it is still to be handled and, on an ordered topic, the first open of its key."""
        ...

    async def resolve(self, dead_letter: StoredDeadLetter) -> DeadLetterState | None:
        """Record that it has been handled.

        Return the state that it was in. None: it was not open any more.
        """
        ...

    async def park_again(self, dead_letter: StoredDeadLetter, *, reason: str) -> None:
        """Park it with a new reason, after it could not be handled again."""
        ...


class BlockedKeys:
    """The keys of one service that have an open dead letter, kept in memory.

    Only the instance that a key's partition is assigned to stores dead letters of that key. So what
    this instance holds is complete from the first refresh after an assignment.
    """

    def __init__(self, dead_letters: DeadLetterStore, service: str) -> None:
        self._dead_letters, self._service = dead_letters, service
        self._keys: AbstractSet[tuple[str, bytes]] | None = None
        self._invalidations = 0
        self._lock = asyncio.Lock()

    def invalidate(self) -> None:
        """Forget the keys after an assignment.

        Other instances may have stored dead letters of the partitions that are assigned to this one
        now, and a refresh that is running may have read the store before they did.
        """
        self._keys = None
        self._invalidations += 1

    def is_blocked(self, record: Record) -> bool:
        """Whether this record must wait behind a dead letter of its key.

        A record without a key never waits. Raises: Transient before the first refresh.
        """
        if record.topic not in self._dead_letters.ordered_topics or record.key is None:
            return False
        if self._keys is None:
            raise Transient("the keys with open dead letters have not been loaded yet")
        return (record.topic, record.key) in self._keys

    async def refresh(self) -> None:
        """Load the keys from the store. Raises: Transient."""
        async with self._lock:
            invalidations = self._invalidations
            keys = await self._dead_letters.load_open_keys(self._service)
            if invalidations == self._invalidations:
                self._keys = keys
                metrics.blocked_keys(len(keys))

    async def park(self, record: Record, *, reason: str, waiting: bool = False) -> None:
        """Store a record and block its key. Raises: Transient."""
        async with self._lock:  # a refresh that began earlier would miss the key
            await self._dead_letters.park(
                record, service=self._service, reason=reason, waiting=waiting
            )
            if self._keys is not None:
                self._keys = self._keys | {(record.topic, record.key or b"")}
