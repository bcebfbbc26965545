"""What every declared table shares."""

from sqlalchemy import Column, DateTime, MetaData, text

metadata = MetaData()

SCHEMAS = ("control", "ingest", "preflight", "executor", "tx_monitor", "debt_recovery")
TIMESTAMP = DateTime(timezone=True)
NOW = text("clock_timestamp()")

ROOM_FOR_UPDATES = {"fillfactor": 40}
"""Storage of a table whose rows are updated a few times, soon after their insert: into the free
space of the same page, without an entry in any index. A page has room for two versions of each row:
when many copies come at once, one statement updates all of its rows."""
FEW_ROWS = {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000}
"""Storage of a table that each order passes through and few are in: the rows that were deleted are
many times those that are there."""


def timestamp(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, TIMESTAMP, nullable=nullable)
