"""What leaves at once: the rows of one table and week. Finds those that are old enough."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.history.folds import FOLDS
from cli.history.rules import ROW_RULES, RowRule, default_rule
from shared.db.engine import fetch_rows, transaction
from shared.db.partitions import SPAN, find_week

CLOCKS_DIFFER_BY = timedelta(days=1)
"""At most, between hosts: rows are kept for as much longer."""

EARLIER_RELEASES = date.min
"""Stands for the week of ids without a day, of earlier releases."""

LOCK_TIMEOUT = "500ms"
"""Shorter than PostgreSQL waits before it looks for deadlocks: this gives way, never a service."""
SNAPSHOT = text("set transaction isolation level repeatable read, read only")
SESSION = text(f"""
select set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO', true),
       set_config('lock_timeout', '{LOCK_TIMEOUT}', true),
       set_config('idle_in_transaction_session_timeout', '60s', true)
""")
"""How rows are written as text must not depend on the session."""

PARTITIONS = """
select c.relname as name from pg_inherits i
join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass(:parent)
order by c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """The rows of one table and week. In its SQL, ``r`` is a row."""

    table: str
    """With its schema: the name in the archive."""
    first_day: date
    """Of the week; ``EARLIER_RELEASES`` for ids without a day."""
    relation: str
    """What the rows are read from: a partition, or the table."""
    source: str
    """SQL: ``from`` clause with the alias ``r``."""
    condition: str
    """SQL: which of its rows."""
    keys: tuple[str, ...]
    parent: Table | None = None
    """The table of which the relation is a partition; None: its rows leave one by one."""

    @property
    def week(self) -> str:
        """As it is shown, and named in the archive."""
        is_dated = self.first_day != EARLIER_RELEASES
        return self.first_day.isoformat() if is_dated else "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a portion holds. The digest does not depend on the order of the rows."""

    rows: int
    digest: str


@asynccontextmanager
async def history_transaction(
    engine: AsyncEngine, *, snapshot: bool = False
) -> AsyncIterator[AsyncConnection]:
    """A transaction that writes rows as the same text everywhere, and waits for no lock for long.
    ``snapshot``: it changes nothing, and all of its statements see the same rows.

    Raises: Transient.
    """
    async with transaction(engine) as connection:
        if snapshot:
            await connection.execute(SNAPSHOT)
        await connection.execute(SESSION)
        yield connection


def first_day_kept(now: datetime, *, weeks: int) -> date:
    """The Monday before which everything is old enough to leave."""
    return find_week(
        (now - timedelta(weeks=weeks) - CLOCKS_DIFFER_BY).astimezone(UTC).date()
    ).first_day


async def find_due(
    connection: AsyncConnection, partitioned: Sequence[Table], *, kept_from: date
) -> list[Portion]:
    """All portions of before that day that are not empty, in the order in which they leave."""
    partitions = [
        portion for table in partitioned for portion in await _find_partitions(connection, table)
    ]
    due = [each for each in partitions if EARLIER_RELEASES < each.first_day < kept_from]
    undated = [each for each in partitions if each.first_day == EARLIER_RELEASES]
    newest = await _find_newest_time(connection, undated)
    if newest is not None and newest.date() < kept_from:
        due += undated
    defaults = [default_rule(table) for table in partitioned if table.fullname not in FOLDS]
    for rule in (*ROW_RULES, *defaults):
        due += await _find_rows(connection, rule, kept_from=kept_from)
    return sorted(due, key=lambda each: each.first_day)


async def _find_partitions(connection: AsyncConnection, table: Table) -> list[Portion]:
    """Without the partition ``default``."""
    found = []
    for row in await fetch_rows(connection, PARTITIONS, parent=table.fullname):
        suffix = row.name.removeprefix(f"{table.name}_")
        if suffix == "before":
            found.append(_partition_portion(table, row.name, EARLIER_RELEASES))
        elif suffix.isdecimal():
            found.append(_partition_portion(table, row.name, date.fromisoformat(suffix)))
    return found


def _partition_portion(table: Table, name: str, first_day: date) -> Portion:
    relation = f"{table.schema}.{name}"
    return Portion(
        table=table.fullname,
        first_day=first_day,
        relation=relation,
        source=f"{relation} r",
        condition="true",
        keys=tuple(column.name for column in table.primary_key.columns),
        parent=table,
    )


async def _find_newest_time(
    connection: AsyncConnection, undated: Sequence[Portion]
) -> datetime | None:
    """The newest time in any row without a day: the rows of one copy leave together. None: there
    are none, and an earlier release may still write some.
    """
    newest: datetime | None = None
    for portion in undated:
        columns = await load_columns(connection, portion)
        times = [f"max({name})" for name, type_ in columns.items() if type_.startswith("timestamp")]
        if times:
            (row,) = await fetch_rows(
                connection, f"select greatest({', '.join(times)}) as at from {portion.relation}"
            )
            newest = max((at for at in (newest, row.at) if at is not None), default=None)
    return newest


async def _find_rows(
    connection: AsyncConnection, rule: RowRule, *, kept_from: date
) -> list[Portion]:
    rows = await fetch_rows(
        connection,
        f"select distinct date_trunc('week', {rule.at})::date as first_day "
        f"from {rule.from_clause} where {rule.at} < '{kept_from}' and {rule.may_leave} order by 1",
    )
    return [_row_portion(rule, row.first_day) for row in rows]


def _row_portion(rule: RowRule, first_day: date) -> Portion:
    end = first_day + SPAN
    return Portion(
        table=rule.table,
        first_day=first_day,
        relation=rule.table,
        source=rule.from_clause,
        condition=f"{rule.at} >= '{first_day:%Y-%m-%d}' and {rule.at} < '{end:%Y-%m-%d}' "
        f"and {rule.may_leave}",
        keys=rule.keys,
    )


async def load_content(connection: AsyncConnection, portion: Portion) -> Content:
    """What it holds now. Raises: Transient."""
    (row,) = await fetch_rows(
        connection,
        "select count(*) as rows, coalesce(sum(hashtextextended(r::text, 0)::numeric), 0)::text "
        f"as digest from {portion.source} where {portion.condition}",
    )
    return Content(rows=row.rows, digest=row.digest)


async def load_columns(connection: AsyncConnection, portion: Portion) -> dict[str, str]:
    """Its columns with their types, in order. Raises: Transient."""
    rows = await fetch_rows(
        connection,
        "select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute "
        "where attrelid = to_regclass(:relation) and attnum > 0 and not attisdropped "
        "order by attnum",
        relation=portion.relation,
    )
    return {row.name: row.type for row in rows}


async def load_bytes(connection: AsyncConnection, portion: Portion) -> int | None:
    """Of a partition, with its indexes; None where its rows leave one by one. Raises: Transient."""
    if portion.parent is None:
        return None
    (row,) = await fetch_rows(
        connection,
        "select pg_total_relation_size(to_regclass(:name)) as bytes",
        name=portion.relation,
    )
    return int(row.bytes)
