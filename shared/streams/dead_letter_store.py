"""What is kept of the messages that could not be handled, and when are they handled again?

A parked message waits for an operator: *redrive* has it handled once more, *discard* gives it up.
What follows it on its topic with the same key waits behind it, parked too and in order, where the
topic's declaration says so (``follows_wait``): such a message may build on the one before it. Once
nothing ahead of it is left it is handled by itself. On other topics what follows passes. A message
that this release does not know waits too, for a release that does, which handles it by itself.
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
    """It stands behind one that could not be handled, or is of a newer release than the one that
    met it."""
    REDRIVING = "redriving"
    """An operator wants it handled again."""
    REDRIVEN = "redriven"
    """It was handled at last."""
    DISCARDED = "discarded"
    """An operator gave it up."""


OPEN_STATES = (DeadLetterState.PARKED, DeadLetterState.WAITING, DeadLetterState.REDRIVING)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A parked record, byte for byte, as a record again. Its offset is no place in a topic: it is
    minus its number.
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
    """Where parked messages are kept. Every call raises Transient where that cannot be asked."""

    @property
    def ordered_topics(self) -> AbstractSet[str]:
        """On which what follows a parked message with its key waits behind it."""
        ...

    async def park(self, record: Record, *, service: str, reason: str, waits: bool) -> None:
        """Keep a record of Kafka, once, however often it is parked."""
        ...

    async def keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        """Topic and key of everything that is open."""
        ...

    async def due(
        self, service: str, partitions: Iterable[TopicPartition], *, unknown: Collection[int] = ()
    ) -> Sequence[StoredDeadLetter]:
        """What is to be handled now, in order: what an operator wants redriven and what waits, with
        nothing parked ahead that matters.

        ``unknown``: letters that this release does not know, which are as good as parked to it.
        """
        ...

    async def has_its_turn(self, letter: StoredDeadLetter, *, service: str) -> bool:
        """Whether it is still to be handled, and nothing open stands ahead of it with the same key,
        on a topic where that matters.
        """
        ...

    async def settle(self, letter: StoredDeadLetter) -> None:
        """It has been handled."""
        ...

    async def park_again(self, letter: StoredDeadLetter, *, reason: str) -> None:
        """It could not be handled this time either."""
        ...


class BlockedKeys:
    """Which keys of one service have something parked, known at every message without asking.

    Nobody but the instance that has a key's partition parks its messages: what it knows is true
    from its first look after an assignment.
    """

    def __init__(self, parking: DeadLetterStore, service: str) -> None:
        self._parking, self._service = parking, service
        self._keys: AbstractSet[tuple[str, bytes]] | None = None
        self._assignments = 0
        self._looking = asyncio.Lock()

    def forget(self) -> None:
        """Other instances may have parked messages of what is ours now. A look that is under way
        may not know of them.
        """
        self._keys = None
        self._assignments += 1

    def hold_up(self, record: Record) -> bool:
        """Whether this record must wait behind a parked one; without a key it follows none. Raises:
        Transient before the first look.
        """
        if record.topic not in self._parking.ordered_topics or record.key is None:
            return False
        if self._keys is None:
            raise Transient("it is not known yet which keys have parked messages")
        return (record.topic, record.key) in self._keys

    async def look(self) -> None:
        """Raises: Transient."""
        async with self._looking:
            began_in = self._assignments
            keys = await self._parking.keys(self._service)
            if began_in == self._assignments:
                self._keys = keys
                metrics.blocked_keys(len(keys))

    async def park(self, record: Record, *, reason: str, waits: bool = False) -> None:
        """Raises: Transient."""
        async with self._looking:  # a look that began before would not know of it
            await self._parking.park(record, service=self._service, reason=reason, waits=waits)
            if self._keys is not None:
                self._keys = self._keys | {(record.topic, record.key or b"")}
