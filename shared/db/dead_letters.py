"""Parked messages in PostgreSQL, and what operators decide about them."""

import base64
import json
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, transaction
from shared.streams.codec import Record, with_values
from shared.streams.dead_letter_store import OPEN_STATES, DeadLetterState, StoredDeadLetter
from shared.streams.topics import ORDERED_TOPICS

PARK = """
insert into control.dead_letters (service, topic, partition, record_offset, record_at, record_key, record_value, record_headers, state,
                                  reason, parked_at)
values (:service, :topic, :partition, :offset, :at, :key, :value, :headers, :state, :reason, clock_timestamp())
on conflict on constraint dead_letters_record do nothing
returning number
"""
KEYS = """
select distinct topic, record_key from control.dead_letters where service = :service and state in ('parked', 'waiting', 'redriving')
"""
DUE = """
select l.* from control.dead_letters l
where l.service = :service and l.state in ('waiting', 'redriving') and l.number <> all(cast(:unknown as bigint[]))
  and (l.topic, l.partition) in (select * from unnest(cast(:topics as text[]), cast(:partitions as integer[])))
  and (l.topic <> all(cast(:ordered as text[])) or not exists (
        select from control.dead_letters ahead
        where ahead.service = l.service and ahead.topic = l.topic and ahead.record_key = l.record_key and ahead.number < l.number
          and (ahead.state = 'parked' or ahead.state in ('waiting', 'redriving') and ahead.number = any(cast(:unknown as bigint[])))))
order by l.number
"""
HAS_ITS_TURN = """
select l.number from control.dead_letters l
where l.number = :number and l.state in ('waiting', 'redriving')
  and (not :ordered or not exists (
        select from control.dead_letters ahead
        where ahead.service = :service and ahead.topic = :topic and ahead.record_key = :key and ahead.number < :number
          and ahead.state in ('parked', 'waiting', 'redriving')))
"""
SETTLE = """
update control.dead_letters set state = 'redriven', settled_at = clock_timestamp()
where number = :number and state in ('parked', 'waiting', 'redriving') returning number
"""
PARK_AGAIN = """
update control.dead_letters set state = 'parked', reason = :reason, parked_at = clock_timestamp()
where number = :number and state in ('parked', 'waiting', 'redriving') returning number
"""
DECIDE = """
with decided as (
    update control.dead_letters
    set state = :state, settled_at = case when :state = 'discarded' then clock_timestamp() end
    where number = :number and state in ('parked', 'waiting', 'redriving')
    returning number
)
insert into control.dead_letter_decisions (number, made_at, made_by, decision, why)
select number, clock_timestamp(), :by, :decision, :why from decided
returning number
"""
LIST = """
select * from control.dead_letters where state = any(cast(:states as text[])) order by number limit :most
"""
SHOW = "select * from control.dead_letters where number = :number"
DECISIONS = "select * from control.dead_letter_decisions where number = :number order by made_at"


class PostgresDeadLetters:
    """``shared.streams.dead_letter_store.Parking``."""

    def __init__(
        self, engine: AsyncEngine, *, ordered_topics: AbstractSet[str] = ORDERED_TOPICS
    ) -> None:
        self._engine = engine
        self.ordered_topics = ordered_topics

    async def park(self, record: Record, *, service: str, reason: str, waits: bool) -> None:
        headers = [
            (name, base64.b64encode(value).decode()) for name, value in with_values(record.headers)
        ]
        await self._ask(
            PARK,
            service=service,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            at=record.timestamp,
            key=record.key or b"",
            value=record.value or b"",
            headers=json.dumps(headers),
            state=DeadLetterState.WAITING if waits else DeadLetterState.PARKED,
            reason=reason,
        )

    async def keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        return frozenset(
            (row.topic, bytes(row.record_key)) for row in await self._ask(KEYS, service=service)
        )

    async def due(
        self, service: str, partitions: Iterable[TopicPartition], *, unknown: Collection[int] = ()
    ) -> Sequence[StoredDeadLetter]:
        asked = list(partitions)
        found = await self._ask(
            DUE,
            service=service,
            topics=[each.topic for each in asked],
            partitions=[each.partition for each in asked],
            ordered=list(self.ordered_topics),
            unknown=list(unknown),
        )
        return [_letter(row) for row in found]

    async def has_its_turn(self, letter: StoredDeadLetter, *, service: str) -> bool:
        found = await self._ask(
            HAS_ITS_TURN,
            service=service,
            topic=letter.topic,
            key=letter.key,
            number=letter.number,
            ordered=letter.topic in self.ordered_topics,
        )
        return bool(found)

    async def settle(self, letter: StoredDeadLetter) -> None:
        await self._ask(SETTLE, number=letter.number)

    async def park_again(self, letter: StoredDeadLetter, *, reason: str) -> None:
        await self._ask(PARK_AGAIN, number=letter.number, reason=reason)

    async def _ask(self, statement: str, **given: Any) -> Sequence[Row[Any]]:
        async with autocommit(self._engine) as connection:
            return await fetch_rows(connection, statement, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody decided about a parked message."""

    made_at: datetime
    made_by: str
    decision: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterHistory:
    """A parked message as an operator sees it."""

    dead_letter: StoredDeadLetter
    service: str
    state: DeadLetterState
    reason: str
    parked_at: datetime
    settled_at: datetime | None
    source_offset: int
    decisions: tuple[Decision, ...] = ()


async def load_dead_letters(
    engine: AsyncEngine, *, states: Iterable[DeadLetterState] = OPEN_STATES, most: int = 200
) -> list[DeadLetterHistory]:
    """The oldest first. Raises: Transient."""
    async with autocommit(engine) as connection:
        return [
            _case(row) for row in await fetch_rows(connection, LIST, states=list(states), most=most)
        ]


async def load_dead_letter(engine: AsyncEngine, number: int) -> DeadLetterHistory | None:
    """With its decisions. None: there is no such number. Raises: Transient."""
    async with transaction(engine) as connection:
        found = await fetch_rows(connection, SHOW, number=number)
        made = await fetch_rows(connection, DECISIONS, number=number)
    decisions = tuple(
        Decision(made_at=row.made_at, made_by=row.made_by, decision=row.decision, why=row.why)
        for row in made
    )
    return _case(found[0], decisions) if found else None


async def decide(
    engine: AsyncEngine, number: int, state: DeadLetterState, *, by: str, why: str
) -> bool:
    """Redrive or discard, with the decision in the same commit. False: it is not open (any more).
    Raises: Transient.
    """
    decision = "redrive" if state is DeadLetterState.REDRIVING else "discard"
    async with autocommit(engine) as connection:
        return bool(
            await fetch_rows(
                connection, DECIDE, number=number, state=state, by=by, decision=decision, why=why
            )
        )


def _letter(row: Row[Any]) -> StoredDeadLetter:
    return StoredDeadLetter(
        number=row.number,
        topic=row.topic,
        partition=row.partition,
        timestamp=row.record_at,
        key=bytes(row.record_key),
        value=bytes(row.record_value),
        headers=tuple(
            (name, base64.b64decode(value)) for name, value in json.loads(row.record_headers)
        ),
    )


def _case(row: Row[Any], decisions: tuple[Decision, ...] = ()) -> DeadLetterHistory:
    return DeadLetterHistory(
        dead_letter=_letter(row),
        service=row.service,
        state=DeadLetterState(row.state),
        reason=row.reason,
        parked_at=row.parked_at,
        settled_at=row.settled_at,
        source_offset=row.record_offset,
        decisions=decisions,
    )
