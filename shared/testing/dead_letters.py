"""Parked messages in memory, for loops in tests; tests/contract holds it equal to PostgreSQL."""

from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from shared.streams.codec import Record, with_values
from shared.streams.dead_letter_store import OPEN_STATES, DeadLetterState, StoredDeadLetter


@dataclass(slots=True, kw_only=True)
class Kept:
    letter: StoredDeadLetter
    service: str
    source_offset: int
    state: DeadLetterState
    reason: str


@dataclass(slots=True)
class MemoryDeadLetters:
    """``shared.streams.dead_letter_store.Parking``, with what an operator would do as methods."""

    ordered_topics: AbstractSet[str] = frozenset()
    kept: list[Kept] = field(default_factory=list)

    async def park(self, record: Record, *, service: str, reason: str, waits: bool) -> None:
        if any(self._is_of(each, record, service) for each in self.kept):
            return
        letter = StoredDeadLetter(
            number=len(self.kept) + 1,
            topic=record.topic,
            partition=record.partition,
            timestamp=record.timestamp,
            key=record.key or b"",
            value=record.value or b"",
            headers=tuple(with_values(record.headers)),
        )
        state = DeadLetterState.WAITING if waits else DeadLetterState.PARKED
        self.kept.append(
            Kept(
                letter=letter,
                service=service,
                source_offset=record.offset,
                state=state,
                reason=reason,
            )
        )

    async def keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        return {(each.letter.topic, each.letter.key) for each in self._open(service)}

    async def due(
        self, service: str, partitions: Iterable[TopicPartition], *, unknown: Collection[int] = ()
    ) -> Sequence[StoredDeadLetter]:
        ours = set(partitions)

        def stands(kept: Kept) -> bool:
            return kept.state is DeadLetterState.PARKED or kept.letter.number in unknown

        return [
            each.letter
            for each in self._open(service)
            if TopicPartition(each.letter.topic, each.letter.partition) in ours
            and not stands(each)
            and not any(stands(ahead) for ahead in self._ahead_of(each.letter, service))
        ]

    async def has_its_turn(self, letter: StoredDeadLetter, *, service: str) -> bool:
        is_to_be_handled = self.kept[letter.number - 1].state in (
            DeadLetterState.WAITING,
            DeadLetterState.REDRIVING,
        )
        return is_to_be_handled and not self._ahead_of(letter, service)

    async def settle(self, letter: StoredDeadLetter) -> None:
        self._set(letter.number, DeadLetterState.REDRIVEN)

    async def park_again(self, letter: StoredDeadLetter, *, reason: str) -> None:
        self._set(letter.number, DeadLetterState.PARKED)
        self.kept[letter.number - 1].reason = reason

    def redrive(self, number: int) -> None:
        self._set(number, DeadLetterState.REDRIVING)

    def discard(self, number: int) -> None:
        self._set(number, DeadLetterState.DISCARDED)

    def _open(self, service: str) -> list[Kept]:
        return [each for each in self.kept if each.service == service and each.state in OPEN_STATES]

    def _ahead_of(self, letter: StoredDeadLetter, service: str) -> list[Kept]:
        if letter.topic not in self.ordered_topics:
            return []
        place = letter.topic, letter.key
        older = [each for each in self._open(service) if each.letter.number < letter.number]
        return [each for each in older if (each.letter.topic, each.letter.key) == place]

    def _set(self, number: int, state: DeadLetterState) -> None:
        if self.kept[number - 1].state in OPEN_STATES:
            self.kept[number - 1].state = state

    @staticmethod
    def _is_of(kept: Kept, record: Record, service: str) -> bool:
        source = kept.service, kept.letter.topic, kept.letter.partition, kept.source_offset
        return source == (service, record.topic, record.partition, record.offset)
