"""The stored positions of the feeds that read on after a gap, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import partition_cursors, tables
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.sql import Batch

LEADERS = Batch.from_table(tables.leader_cursors, "leader", "read_to")

TAKE_OVER_SINGLE_CURSOR = text("""
with single as (
    delete from ingest.cursors
    where feed = 'chain' and cast(:count as integer) > 0
    returning block_number
)
insert into ingest.partition_cursors (partition, block_number)
select number, single.block_number
from generate_series(0, cast(:count as integer) - 1) as number, single
on conflict do nothing
""")
"""All partitions begin where the earlier release's feed was, also those of other instances, and
only once: one that were left out would begin where the others are by then. Nothing is taken over
while their number is not known."""

LOAD_LEADERS = """
select leader, read_to from ingest.leader_cursors where leader = any(cast(:leaders as text[]))
"""
SAVE_LEADERS = text(f"""
insert into ingest.leader_cursors as cursors (leader, read_to)
select * from {LEADERS.unnest("given")} order by leader
on conflict (leader) do update set read_to = excluded.read_to
where cursors.read_to < excluded.read_to
""")
REMOVE_LEADERS = text(
    "delete from ingest.leader_cursors where leader = any(cast(:leaders as text[]))"
)

REMOVE_OTHER_LEADERS = text(
    "delete from ingest.leader_cursors where leader <> all(cast(:leaders as text[]))"
)


class PostgresPartitionCursors(partition_cursors.PostgresPartitionCursors):
    """Up to which block the chain was read for the leaders of each partition."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine, tables.partition_cursors, service="ingest")

    async def load(self, partitions: Sequence[int], *, count: int) -> Mapping[int, int | None]:
        async with transaction(self._engine) as connection:
            await connection.execute(TAKE_OVER_SINGLE_CURSOR, {"count": count})
        return await super().load(partitions, count=count)


class PostgresLeaderCursors:
    """Up to when the Data API was read for each leader. No lease is needed to move one: it says
    nothing about any other leader.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self, leaders: Sequence[str]) -> Mapping[str, datetime]:
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, LOAD_LEADERS, leaders=list(leaders))
        return {row.leader: row.read_to for row in rows}

    async def save(self, cursors: Mapping[str, datetime]) -> None:
        rows = [{"leader": leader, "read_to": cursor} for leader, cursor in cursors.items()]
        async with autocommit(self._engine) as connection:
            await connection.execute(SAVE_LEADERS, LEADERS.parameters(rows))

    async def remove(self, leaders: Sequence[str]) -> None:
        async with autocommit(self._engine) as connection:
            await connection.execute(REMOVE_LEADERS, {"leaders": list(leaders)})

    async def remove_others(self, followed: Sequence[str]) -> None:
        async with autocommit(self._engine) as connection:
            await connection.execute(REMOVE_OTHER_LEADERS, {"leaders": list(followed)})
