"""Tables of debt-recovery."""

from sqlalchemy import BigInteger, Column, Index, Table, Text

from shared.db.tables.base import metadata, timestamp

debts = Table(
    "debts",
    metadata,
    Column("debt_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("intent_id", Text, nullable=False),
    Column("creditor", Text, nullable=False),
    Column("usdc", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    timestamp("raised_at", nullable=False),
    Index("debts_by_proxy", "proxy"),
    schema="debt_recovery",
    comment="What is owed, and the intent that it is owed for.",
)
