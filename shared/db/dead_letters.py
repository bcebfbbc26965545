"""Dead letters in PostgreSQL, and the decisions of operators about them."""

import base64
import json
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.rows import Row
from shared.db.sql import Batch, literals
from shared.streams.codec import Record, with_values
from shared.streams.dead_letter_store import (
    OPEN_DEAD_LETTER_STATES,
    TO_HANDLE_STATES,
    DeadLetterState,
    StoredDeadLetter,
)
from shared.streams.topics import ORDERED_TOPICS

OPEN = literals(OPEN_DEAD_LETTER_STATES)
TO_HANDLE = literals(TO_HANDLE_STATES)

PARK = """
insert into control.dead_letters (
    service, topic, partition, record_offset, record_at, record_key, record_value,
    record_headers, state, reason, parked_at
)
values (
    :service, :topic, :partition, :offset, :at, :key, :value,
    :headers, :state, :reason, clock_timestamp()
)
on conflict on constraint dead_letters_record do nothing
returning number
"""
LOAD_OPEN_KEYS = f"""
select distinct topic, record_key from control.dead_letters
where service = :service and state in {OPEN}
"""
PARTITIONS = Batch.from_table(tables.dead_letters, "topic", "partition")
LOAD_DUE = f"""
select l.* from control.dead_letters l
where l.service = :service and l.state in {TO_HANDLE}
  and (l.topic, l.partition) in (select * from {PARTITIONS.unnest("assigned")})
  and l.number <> all(cast(:unknown as bigint[]))
  and (l.topic <> all(cast(:ordered as text[])) or not exists (
        select from control.dead_letters ahead
        where ahead.service = l.service and ahead.topic = l.topic
          and ahead.record_key = l.record_key and ahead.number < l.number
          and (ahead.state = '{DeadLetterState.PARKED}'
               or ahead.state in {TO_HANDLE}
               and ahead.number = any(cast(:unknown as bigint[])))))
order by l.number
"""
IS_DUE = f"""
select l.number from control.dead_letters l
where l.number = :number and l.state in {TO_HANDLE}
  and (not :ordered or not exists (
        select from control.dead_letters ahead
        where ahead.service = :service and ahead.topic = :topic
          and ahead.record_key = :key and ahead.number < :number and ahead.state in {OPEN}))
"""
RESOLVE = f"""
update control.dead_letters l
set state = '{DeadLetterState.REDRIVEN}', resolved_at = clock_timestamp()
from (
    select number, state from control.dead_letters
    where number = :number and state in {OPEN} for update
) before
where l.number = before.number
returning before.state
"""
PARK_AGAIN = f"""
update control.dead_letters
set state = '{DeadLetterState.PARKED}', reason = :reason, parked_at = clock_timestamp()
where number = :number and state in {OPEN}
returning number
"""
DECIDE = f"""
with decided as (
    update control.dead_letters
    set state = :state,
        resolved_at = case when :state = '{DeadLetterState.DISCARDED}' then clock_timestamp() end
    where number = :number and state in {OPEN}
    returning number
)
insert into control.dead_letter_decisions (number, made_at, made_by, decision, why)
select number, clock_timestamp(), :by, :decision, :why from decided
returning number
"""
LOAD_ALL = """
select * from control.dead_letters
where state = any(cast(:states as text[]))
order by number limit :limit
"""
LOAD_ONE = "select * from control.dead_letters where number = :number"
LOAD_DECISIONS = """
select * from control.dead_letter_decisions where number = :number order by made_at
"""


class PostgresDeadLetters:
    """A ``shared.streams.dead_letter_store.DeadLetterStore`` in PostgreSQL."""

    def __init__(
        self, engine: AsyncEngine, *, ordered_topics: AbstractSet[str] = ORDERED_TOPICS
    ) -> None:
        self._engine = engine
        self.ordered_topics = ordered_topics

    async def park(self, record: Record, *, service: str, reason: str, waiting: bool) -> None:
        headers = [
            (name, base64.b64encode(value).decode()) for name, value in with_values(record.headers)
        ]
        await self._execute(
            PARK,
            service=service,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            at=record.timestamp,
            key=record.key or b"",
            value=record.value or b"",
            headers=json.dumps(headers),
            state=DeadLetterState.WAITING if waiting else DeadLetterState.PARKED,
            reason=reason,
        )

    async def load_open_keys(self, service: str) -> AbstractSet[tuple[str, bytes]]:
        rows = await self._execute(LOAD_OPEN_KEYS, service=service)
        return frozenset((row.topic, bytes(row.record_key)) for row in rows)

    async def load_due(
        self, service: str, partitions: Iterable[TopicPartition], *, unknown: Collection[int] = ()
    ) -> Sequence[StoredDeadLetter]:
        rows = await self._execute(
            LOAD_DUE,
            service=service,
            ordered=list(self.ordered_topics),
            unknown=list(unknown),
            **PARTITIONS.parameters([each._asdict() for each in partitions]),
        )
        return [_parse_dead_letter(row) for row in rows]

    async def is_due(self, dead_letter: StoredDeadLetter, *, service: str) -> bool:
        rows = await self._execute(
            IS_DUE,
            service=service,
            topic=dead_letter.topic,
            key=dead_letter.key,
            number=dead_letter.number,
            ordered=dead_letter.topic in self.ordered_topics,
        )
        return bool(rows)

    async def resolve(self, dead_letter: StoredDeadLetter) -> DeadLetterState | None:
        rows = await self._execute(RESOLVE, number=dead_letter.number)
        return DeadLetterState(rows[0].state) if rows else None

    async def park_again(self, dead_letter: StoredDeadLetter, *, reason: str) -> None:
        await self._execute(PARK_AGAIN, number=dead_letter.number, reason=reason)

    async def _execute(self, statement: str, **parameters: Any) -> Sequence[Row]:
        async with autocommit(self._engine) as connection:
            return await fetch_rows(connection, statement, **parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An operator's decision about a dead letter."""

    made_at: datetime
    made_by: str
    decision: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterHistory:
    """A dead letter as it is shown to an operator."""

    dead_letter: StoredDeadLetter
    service: str
    state: DeadLetterState
    reason: str
    parked_at: datetime
    resolved_at: datetime | None
    source_offset: int
    decisions: tuple[Decision, ...] = ()


async def load_dead_letters(
    engine: AsyncEngine,
    *,
    states: Iterable[DeadLetterState] = OPEN_DEAD_LETTER_STATES,
    limit: int = 200,
) -> list[DeadLetterHistory]:
    """Load dead letters without their decisions, oldest first. Raises: Transient."""
    async with autocommit(engine) as connection:
        return [
            _parse_history(row)
            for row in await fetch_rows(connection, LOAD_ALL, states=list(states), limit=limit)
        ]


async def load_dead_letter(engine: AsyncEngine, number: int) -> DeadLetterHistory | None:
    """Load a dead letter with its decisions. None: there is no such number. Raises: Transient."""
    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, LOAD_ONE, number=number)
        decided = await fetch_rows(connection, LOAD_DECISIONS, number=number)
    decisions = tuple(
        Decision(made_at=row.made_at, made_by=row.made_by, decision=row.decision, why=row.why)
        for row in decided
    )
    return _parse_history(rows[0], decisions) if rows else None


async def decide(
    engine: AsyncEngine, number: int, state: DeadLetterState, *, by: str, why: str
) -> bool:
    """Redrive or discard a dead letter, and record the decision in the same transaction.

    Return False where it is not open. Raises: Transient.
    """
    decision = "redrive" if state is DeadLetterState.REDRIVING else "discard"
    async with autocommit(engine) as connection:
        return bool(
            await fetch_rows(
                connection, DECIDE, number=number, state=state, by=by, decision=decision, why=why
            )
        )


def _parse_dead_letter(row: Row) -> StoredDeadLetter:
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


def _parse_history(row: Row, decisions: tuple[Decision, ...] = ()) -> DeadLetterHistory:
    return DeadLetterHistory(
        dead_letter=_parse_dead_letter(row),
        service=row.service,
        state=DeadLetterState(row.state),
        reason=row.reason,
        parked_at=row.parked_at,
        resolved_at=row.resolved_at,
        source_offset=row.record_offset,
        decisions=decisions,
    )
