"""The stored positions of the feeds that read on after a gap, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.adapters.shared_leaders import LeaseId
from shared.db import tables
from shared.db.engine import autocommit, fetch_rows, transaction
from shared.db.sql import Batch

LEADERS = Batch.from_table(tables.leader_cursors, "leader", "read_to")
LEASES = Batch.from_table(tables.leases, "partition", "token")

TAKE_OVER_SINGLE_CURSOR = """
with single as (
    delete from ingest.cursors
    where feed = 'chain' and cast(:count as integer) > 0
    returning block_number
)
insert into ingest.partition_cursors (partition, block_number)
select number, single.block_number
from generate_series(0, cast(:count as integer) - 1) as number, single
on conflict do nothing
"""
"""All partitions begin where the earlier release's feed was, also those of other instances, and
only once: one that were left out would begin where the others are by then. Nothing is taken over
while their number is not known."""
LOAD_BLOCKS = """
select given.partition,
       coalesce(
           cursors.block_number, (select min(block_number) from ingest.partition_cursors)
       ) as block_number
from unnest(cast(:partitions as integer[])) as given(partition)
left join ingest.partition_cursors as cursors using (partition)
"""
"""A partition that was never read, because there are more of them than before, begins where the
last one of the others is: its leaders were theirs."""
SAVE_BLOCK = f"""
with fence as materialized (
    select partition from control.leases
    where service = 'ingest'
      and (partition, token) in (select * from {LEASES.unnest("named")})
    order by partition
    for share
)
insert into ingest.partition_cursors as cursors (partition, block_number)
select partition, cast(:block as bigint) from fence order by partition
on conflict (partition) do update set block_number = excluded.block_number
where cursors.block_number < excluded.block_number
"""
"""Writes nothing under a lease that is not the newest. The leases are locked in the order in which
all others lock them."""

LOAD_LEADERS = """
select leader, read_to from ingest.leader_cursors where leader = any(cast(:leaders as text[]))
"""
SAVE_LEADERS = f"""
insert into ingest.leader_cursors as cursors (leader, read_to)
select * from {LEADERS.unnest("given")} order by leader
on conflict (leader) do update set read_to = excluded.read_to
where cursors.read_to < excluded.read_to
"""
REMOVE_LEADERS = "delete from ingest.leader_cursors where leader = any(cast(:leaders as text[]))"

REMOVE_OTHER_LEADERS = (
    "delete from ingest.leader_cursors where leader <> all(cast(:leaders as text[]))"
)


class PostgresPartitionCursors:
    """Up to which block the chain was read for the leaders of each partition."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def load(self, partitions: Sequence[int], *, count: int) -> Mapping[int, int | None]:
        """Return the last block that was read of each; None where none ever was. ``count``: all
        partitions, also those of others. Raises: Transient.
        """
        async with transaction(self._engine) as connection:
            await fetch_rows(connection, TAKE_OVER_SINGLE_CURSOR, count=count)
            rows = await fetch_rows(connection, LOAD_BLOCKS, partitions=list(partitions))
        return {row.partition: row.block_number for row in rows}

    async def save(self, leases: Sequence[LeaseId], block: int) -> None:
        """Move the cursors of these partitions forward, never back, where the lease is still the
        newest one: who lost it does not know all leaders of the partition. Raises: Transient.
        """
        named = [{"partition": partition, "token": token} for partition, token in leases]
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, SAVE_BLOCK, block=block, **LEASES.parameters(named))


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
            await fetch_rows(connection, SAVE_LEADERS, **LEADERS.parameters(rows))

    async def remove(self, leaders: Sequence[str]) -> None:
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, REMOVE_LEADERS, leaders=list(leaders))

    async def remove_others(self, followed: Sequence[str]) -> None:
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, REMOVE_OTHER_LEADERS, leaders=list(followed))
