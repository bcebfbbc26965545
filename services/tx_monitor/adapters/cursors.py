"""Up to which final block the fills of each partition's followers were published."""

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import tables
from shared.db.partition_cursors import PostgresPartitionCursors

SERVICE = "tx-monitor"
"""The name of tx-monitor's leases."""


class PostgresFillCursors(PostgresPartitionCursors):
    """The cursors of tx-monitor's partitions, moved under its leases."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine, tables.fill_cursors, service=SERVICE)
