"""Up to which block the chain was read for the wallets of each partition, in PostgreSQL."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.engine import autocommit, fetch_rows
from shared.db.leased_wallets import LeaseId
from shared.db.sql import Batch

LEASES = Batch.from_table(tables.leases, "partition", "token")

LOAD = """
select given.partition,
       coalesce(
           cursors.block_number, (select min(block_number) from {table})
       ) as block_number
from unnest(cast(:partitions as integer[])) as given(partition)
left join {table} as cursors using (partition)
"""
"""A partition that was never read, because there are more of them than before, begins where the
last one of the others is: its wallets were theirs."""
BEGIN = """
insert into {table} (partition, block_number)
select number, cast(:block as bigint)
from generate_series(0, cast(:count as integer) - 1) as number
order by number
on conflict (partition) do nothing
"""
SAVE = f"""
with fence as materialized (
    select partition from control.leases
    where service = :service
      and (partition, token) in (select * from {LEASES.unnest("named")})
    order by partition
    for share
)
insert into {{table}} as cursors (partition, block_number)
select partition, cast(:block as bigint) from fence order by partition
on conflict (partition) do update set block_number = excluded.block_number
where cursors.block_number < excluded.block_number
returning partition
"""
"""Writes nothing under a lease that is not the newest. The leases are locked in the order in which
all others lock them."""


class PostgresPartitionCursors:
    """The cursors in ``table``, which has the columns of ``ingest.partition_cursors``. ``service``:
    whose leases let them be moved.
    """

    def __init__(self, engine: AsyncEngine, table: Table, *, service: str) -> None:
        self._engine, self._service = engine, service
        self._load, self._save = LOAD.format(table=table), SAVE.format(table=table)
        self._begin = BEGIN.format(table=table)

    async def load(self, partitions: Sequence[int], *, count: int) -> Mapping[int, int | None]:
        """Return the last block that was read of each; None where none ever was. ``count``: all
        partitions, also those of others. Raises: Transient.
        """
        async with autocommit(self._engine) as connection:
            rows = await fetch_rows(connection, self._load, partitions=list(partitions))
        return {row.partition: row.block_number for row in rows}

    async def begin(self, block: int, *, count: int) -> None:
        """Have each of all ``count`` partitions that was never read begin after the block. No lease
        is needed: it moves no position. Raises: Transient.
        """
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, self._begin, block=block, count=count)

    async def save(self, leases: Sequence[LeaseId], block: int) -> None:
        """Move the cursors of these partitions forward, never back, where the lease is still the
        newest one: who lost it does not know all wallets of the partition. Raises: Transient.
        """
        named = [{"partition": partition, "token": token} for partition, token in leases]
        values = {"service": self._service, "block": block, **LEASES.parameters(named)}
        async with autocommit(self._engine) as connection:
            await fetch_rows(connection, self._save, **values)
