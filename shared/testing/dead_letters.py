"""A store of dead letters in memory, for tests; tests/contract checks it against PostgreSQL's."""

from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from shared.streams.codec import Record, with_values
from shared.streams.dead_letter_store import (
    OPEN_DEAD_LETTER_STATES,
    TO_HANDLE_STATES,
    DeadLetterState,
    StoredDeadLetter,
)


@dataclass(slots=True, kw_only=True)
class MemoryDeadLetter:
    dead_letter: StoredDeadLetter
    service: str
    source_offset: int
    state: DeadLetterState
    reason: str


@dataclass(slots=True)
class MemoryDeadLetters:
    """A ``DeadLetterStore`` in memory, with the decisions of an operator as methods."""

    ordered_topics: AbstractSet[str] = frozenset()
    entries: list[MemoryDeadLetter] = field(default_factory=list)

    async def park(self, record: Record, *, service: str, reason: str, waiting: bool) -> None:
        if any(self._belongs_to(each, record, service) for each in self.entries):
            return
        dead_letter = StoredDeadLetter(
            number=len(self.entries) + 1,
            topic=record.topic,
            partition=record.partition,
            timestamp=record.timestamp,
            key=record.key or b"",
            value=record.value or b"",
            headers=tuple(with_values(record.headers)),
        )
        self.entries.append(
            MemoryDeadLetter(
                dead_letter=dead_letter,
                service=service,
                source_offset=record.offset,
                state=DeadLetterState.WAITING if waiting else DeadLetterState.PARKED,
                reason=reason,
            )
        )

    async def load_open_keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        return {(each.dead_letter.topic, each.dead_letter.key) for each in self._open(service)}

    async def load_due(
        self, service: str, partitions: Iterable[TopicPartition], *, unknown: Collection[int] = ()
    ) -> Sequence[StoredDeadLetter]:
        ours = set(partitions)

        def blocks(entry: MemoryDeadLetter) -> bool:
            return entry.state is DeadLetterState.PARKED or entry.dead_letter.number in unknown

        return [
            each.dead_letter
            for each in self._open(service)
            if TopicPartition(each.dead_letter.topic, each.dead_letter.partition) in ours
            and not blocks(each)
            and not any(blocks(ahead) for ahead in self._entries_ahead(each.dead_letter, service))
        ]

    async def is_due(self, dead_letter: StoredDeadLetter, *, service: str) -> bool:
        state = self.entries[dead_letter.number - 1].state
        return state in TO_HANDLE_STATES and not self._entries_ahead(dead_letter, service)

    async def resolve(self, dead_letter: StoredDeadLetter) -> DeadLetterState | None:
        return self._set_state(dead_letter.number, DeadLetterState.REDRIVEN)

    async def park_again(self, dead_letter: StoredDeadLetter, *, reason: str) -> None:
        self._set_state(dead_letter.number, DeadLetterState.PARKED)
        self.entries[dead_letter.number - 1].reason = reason

    def redrive(self, number: int) -> None:
        self._set_state(number, DeadLetterState.REDRIVING)

    def discard(self, number: int) -> None:
        self._set_state(number, DeadLetterState.DISCARDED)

    def _open(self, service: str) -> list[MemoryDeadLetter]:
        return [
            each
            for each in self.entries
            if each.service == service and each.state in OPEN_DEAD_LETTER_STATES
        ]

    def _entries_ahead(self, dead_letter: StoredDeadLetter, service: str) -> list[MemoryDeadLetter]:
        if dead_letter.topic not in self.ordered_topics:
            return []
        position = dead_letter.topic, dead_letter.key
        older = [
            each for each in self._open(service) if each.dead_letter.number < dead_letter.number
        ]
        return [
            each for each in older if (each.dead_letter.topic, each.dead_letter.key) == position
        ]

    def _set_state(self, number: int, state: DeadLetterState) -> DeadLetterState | None:
        """Return the state before. None: it was not open, and stays as it is."""
        before = self.entries[number - 1].state
        if before not in OPEN_DEAD_LETTER_STATES:
            return None
        self.entries[number - 1].state = state
        return before

    @staticmethod
    def _belongs_to(entry: MemoryDeadLetter, record: Record, service: str) -> bool:
        stored = entry.dead_letter
        source = entry.service, stored.topic, stored.partition, entry.source_offset
        return source == (service, record.topic, record.partition, record.offset)
