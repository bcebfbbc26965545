"""Partitions of the tables whose keys begin with the day of an intent: one partition per week.

A statement that names ids reads the partitions of their days alone, and what is old enough leaves
with its partition. Beside those of the weeks, each table has two partitions: ``before`` holds the
ids of earlier releases, which had no day, and ``default`` whatever has no other partition yet.
"""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import utc_now
from shared.db.engine import transaction
from shared.domain.errors import Transient
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

SPAN = timedelta(days=7)
WEEKS_AHEAD = 2
"""How many weeks after the current one have their partitions. A week whose partition is missing is
written to ``default``, and moved when the partition is created."""
CHECK_INTERVAL_S = 3600.0
RETRY_AFTER_S = 10.0
LOCK = 7_261_043_119
"""Any constant, for an advisory lock: instances create partitions one after another."""
LOCK_TIMEOUT = text("set local lock_timeout = '2s'")
"""While this waits for a lock, every statement that comes later waits behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """The span of one partition, from its first day on."""

    first_day: date

    @property
    def first_id(self) -> str:
        """No id of the week comes before it."""
        return f"i{self.first_day:%Y%m%d}"

    @property
    def next(self) -> "Week":
        return Week(first_day=self.first_day + SPAN)

    def partition_name(self, table: Table) -> str:
        """With its schema."""
        return f"{table.fullname}_{self.first_day:%Y%m%d}"


def find_week(day: date) -> Week:
    """Return the week of a day; it begins on Monday."""
    return Week(first_day=day - timedelta(days=day.weekday()))


def key_column(table: Table) -> str:
    """The column that a table is partitioned by; its values begin with the id of an intent."""
    return str(table.info["partitioned_by"])


def partitioning(key: str) -> dict[str, Any]:
    """Arguments of ``Table`` for one that is partitioned by this column."""
    return {"info": {"partitioned_by": key}, "postgresql_partition_by": f"RANGE ({key})"}


class Partitions:
    """Creates the partitions of the coming weeks. It is a feed of the service that owns the tables,
    and publishes nothing.
    """

    def __init__(self, engine: AsyncEngine, tables: Collection[Table]) -> None:
        self._engine, self._tables = engine, tuple(tables)

    async def __call__(self, _publish: Publish) -> None:
        while True:
            try:
                await create_partitions(self._engine, self._tables, now=utc_now())
            except Transient as error:
                logger.warning("partitions could not be created, will retry: %s", error)
                await asyncio.sleep(RETRY_AFTER_S)
            else:
                await asyncio.sleep(CHECK_INTERVAL_S)


async def create_partitions(
    engine: AsyncEngine, tables: Collection[Table], *, now: datetime
) -> list[str]:
    """Create the missing partitions of the current and the coming weeks; return their names.

    Raises: Transient.
    """
    created = []
    for table in tables:
        week = find_week(now.date())
        for _ in range(WEEKS_AHEAD + 1):
            async with transaction(engine) as connection:
                if await _create_partition(connection, table, week):
                    created.append(week.partition_name(table))
            week = week.next
    if created:
        logger.info("created partitions %s", ", ".join(created))
    return created


async def _create_partition(connection: AsyncConnection, table: Table, week: Week) -> bool:
    """Create it unless it exists. Rows of its week that are in ``default`` are moved into it.

    Raises: Transient where such a row was committed while this waited for its lock.
    """
    name, key = week.partition_name(table), key_column(table)
    await connection.execute(LOCK_TIMEOUT)
    await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    exists = await connection.scalar(text("select to_regclass(:name)"), {"name": name})
    if exists is not None:
        return False
    first, end = week.first_id, week.next.first_id
    is_ahead = await _lock_default(connection, table, first=first, end=end)
    # Attached, because `create table ... partition of` would lock the whole table.
    await connection.execute(
        text(f"create table {name} (like {table.fullname} including all) {storage(table)}")
    )
    moved = await connection.execute(
        text(f"""
            with moved as (
                delete from {table.fullname}_default
                where {key} >= '{first}' and {key} < '{end}' returning *
            )
            insert into {name} select * from moved
        """)
    )
    if is_ahead and moved.rowcount:
        raise Transient(f"rows of {name} were written to the default partition meanwhile")
    await connection.execute(
        text(
            f"alter table {table.fullname} attach partition {name} "
            f"for values from ('{first}') to ('{end}')"
        )
    )
    return True


async def _lock_default(connection: AsyncConnection, table: Table, *, first: str, end: str) -> bool:
    """Lock ``default``: no row of the week may be committed to it before the week's partition is
    attached. Return whether it held none.

    Where it holds some the whole table is locked, too: a statement that was planned without the new
    partition would not find them any more.
    """
    default = f"{table.fullname}_default"
    key = key_column(table)
    holds_rows = await connection.scalar(
        text(f"select exists (select from {default} where {key} >= '{first}' and {key} < '{end}')")
    )
    locked = f"only {table.fullname}, only {default}" if holds_rows else f"only {default}"
    await connection.execute(text(f"lock table {locked} in access exclusive mode"))
    return not holds_rows


def storage(table: Table) -> str:
    """``with (...)``: the storage parameters of each partition; empty where it has none."""
    parameters = table.info.get("storage", {})
    listed = ", ".join(f"{name} = {value}" for name, value in parameters.items())
    return f"with ({listed})" if listed else ""
