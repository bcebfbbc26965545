"""Tables of the executor: orders and their trades.

An order's body is written once and never again. What changes of it is a short row apart, with no
index but its key, so that an update writes neither the body nor an index.
"""

from sqlalchemy import BigInteger, Column, Index, Numeric, Table, Text

from shared.db.partitions import partitioning
from shared.db.tables.base import (
    FEW_ROWS,
    ROOM_FOR_UPDATES,
    TIMESTAMP,
    metadata,
    timestamp,
)

orders = Table(
    "orders",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("order_hash", Text, nullable=False),
    Column(
        "body",
        Text,
        nullable=False,
        comment="The exact bytes to send at every attempt; empty where it was withdrawn unsigned",
    ),
    Column("side", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("leader", Text, nullable=False),
    Column("leader_price", Numeric, comment="Null where no trade was copied"),
    Column("limit_price", Numeric, nullable=False),
    Column("fee_rate", Numeric, nullable=False),
    Column("traceparent", Text),
    Column("expires_at", TIMESTAMP, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("outcome", Text, nullable=False, server_default=""),
    timestamp("seen_at", nullable=False),
    timestamp("intended_at", nullable=False),
    timestamp("quoted_at", nullable=False),
    timestamp("approved_at", nullable=False),
    timestamp("signed_at", nullable=False),
    Column(
        "requested_shares",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="Micro-shares that an exit was to sell; 0 for an entry",
    ),
    # Each intent has one order, so no two have the same hash; over partitions it cannot be declared
    # as unique. A hash index has a quarter of the pages that a B-tree of the texts would have.
    Index("orders_by_hash", "order_hash", postgresql_using="hash"),
    # For the latencies of the last hour: rows are in the order of their time.
    Index("orders_by_time", "seen_at", postgresql_using="brin"),
    schema="executor",
    comment="One order per intent, recorded before it is sent, and never changed.",
    **partitioning("intent_id"),
)

order_states = Table(
    "order_states",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("shares", BigInteger, nullable=False, server_default="0"),
    Column("usdc", BigInteger, nullable=False, server_default="0"),
    Column("fee_usdc", BigInteger, nullable=False, server_default="0"),
    Column(
        "last_reply",
        Text,
        nullable=False,
        server_default="",
        comment="The venue's last reply about an order that has no outcome yet",
    ),
    timestamp("unverified_since"),
    Column(
        "empty_lookups",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="Lookups at the venue since unverified_since that found no trade of it",
    ),
    Column(
        "alerted_at", TIMESTAMP, comment="When an operator was alerted: it was not resolved in time"
    ),
    timestamp("posted_at"),
    timestamp("answered_at"),
    timestamp("confirmed_at"),
    schema="executor",
    comment="What is known of each order by now.",
    **partitioning("intent_id"),
)
order_states.info["storage"] = ROOM_FOR_UPDATES

open_orders = Table(
    "open_orders",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    schema="executor",
    comment="The orders that are not final.",
    info={"storage": FEW_ROWS},
)

trades = Table(
    "trades",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("trade_id", Text, primary_key=True),
    Column("order_hash", Text, nullable=False),
    Column("proxy", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("shares", BigInteger, nullable=False),
    Column("usdc", BigInteger, nullable=False),
    Column("fee_usdc", BigInteger, nullable=False),
    Column("transaction_hash", Text, nullable=False, server_default=""),
    Column("chain_state", Text, nullable=False, server_default=""),
    timestamp("matched_at", nullable=False),
    timestamp("updated_at", nullable=False),
    # For `slipstream why`. The transaction becomes known by an update: an index of each row would
    # be written by every one of them, a filter for each 128 pages is not.
    Index(
        "trades_by_transaction",
        "transaction_hash",
        postgresql_using="brin",
        postgresql_ops={"transaction_hash": "text_bloom_ops"},
        postgresql_with={"autosummarize": "on"},
    ),
    schema="executor",
    comment="The venue's trades of our orders. Positions are a view of them.",
    **partitioning("intent_id"),
)
trades.info["storage"] = ROOM_FOR_UPDATES

position_sums = Table(
    "position_sums",
    metadata,
    Column("proxy", Text, primary_key=True),
    Column("token_id", Text, primary_key=True),
    Column("shares", BigInteger, nullable=False),
    Column("cash_usdc", BigInteger, nullable=False),
    Column("trades", BigInteger, nullable=False),
    schema="executor",
    comment="The sums of the trades whose partitions were dropped: positions are these and trades.",
)
