"""Tables of tx-monitor: the transactions that it watches, and how far it read the chain."""

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from shared.db.partitions import partitioning
from shared.db.tables.base import FEW_ROWS, metadata, timestamp

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
    schema="tx_monitor",
    comment="Transactions that a service waits for.",
    **partitioning("request_id"),
)
watches.info["storage"] = {"fillfactor": 33}  # the fills make a row longer

open_watches = Table(
    "open_watches",
    metadata,
    Column("request_id", Text, primary_key=True),
    schema="tx_monitor",
    comment="The watches that are neither final nor dropped: their receipts are polled.",
    info={"storage": FEW_ROWS},
)

fill_cursors = Table(
    "partition_cursors",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("block_number", BigInteger, nullable=False),
    schema="tx_monitor",
    comment="Up to which final block the fills of the followers of a partition of "
    "chain-requests were published; its next owner continues there.",
)
