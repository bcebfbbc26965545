"""Tables of tx-monitor: the transactions that it watches."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, text

from shared.db.tables.base import metadata, timestamp

watches = Table(
    "watches",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("transaction_hash", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("intent_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("block_number", BigInteger),
    Column("block_hash", Text, nullable=False, server_default=""),
    Column(
        "fills",
        Text,
        nullable=False,
        comment="JSON: what its orders gave and received, by the chain's logs",
    ),
    Column("traceparent", Text),
    timestamp("requested_at", nullable=False),
    timestamp("updated_at", nullable=False),
    Index(
        "watches_open", "state", postgresql_where=text("state not in ('final', 'final_reverted')")
    ),
    schema="tx_monitor",
    comment="Transactions that a service waits for.",
)
