"""What every declared table shares."""

from sqlalchemy import Column, DateTime, MetaData, text

metadata = MetaData()

SCHEMAS = ("control", "ingest", "preflight", "executor", "tx_monitor", "debt_recovery")
TIMESTAMP = DateTime(timezone=True)
NOW = text("clock_timestamp()")


def timestamp(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, TIMESTAMP, nullable=nullable)
