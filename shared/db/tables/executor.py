"""Tables of the executor: orders and their trades, and the wallets' API keys."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Numeric, Table, Text, text

from shared.db.sql import literals
from shared.db.tables.base import NOW, TIMESTAMP, metadata, timestamp
from shared.messages.orders import OPEN_ORDER_STATES

ORDER_IS_OPEN = f"state in {literals(OPEN_ORDER_STATES)}"
"""A row of executor.orders that is followed until it is final."""

orders = Table(
    "orders",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("order_hash", Text, nullable=False, unique=True),
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
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("shares", BigInteger, nullable=False, server_default="0"),
    Column("usdc", BigInteger, nullable=False, server_default="0"),
    Column("fee_usdc", BigInteger, nullable=False, server_default="0"),
    Column("traceparent", Text),
    Column("expires_at", TIMESTAMP, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("outcome", Text, nullable=False, server_default=""),
    timestamp("seen_at", nullable=False),
    timestamp("intended_at", nullable=False),
    timestamp("quoted_at", nullable=False),
    timestamp("approved_at", nullable=False),
    timestamp("signed_at", nullable=False),
    timestamp("posted_at"),
    timestamp("answered_at"),
    timestamp("confirmed_at"),
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
    Column(
        "requested_shares",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="Micro-shares that an exit was to sell; 0 for an entry",
    ),
    Column(
        "intent",
        Text,
        nullable=False,
        server_default="",
        comment="Not written any more: preflight.exits has it. To be dropped in a later release",
    ),
    Index("orders_open", "proxy", postgresql_where=text(ORDER_IS_OPEN)),
    schema="executor",
    comment="One order per intent, recorded before it is sent.",
)

trades = Table(
    "trades",
    metadata,
    Column("order_hash", Text, primary_key=True),
    Column("trade_id", Text, primary_key=True),
    Column("intent_id", Text, nullable=False),
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
    Index("trades_by_proxy", "proxy", "token_id"),
    Index("trades_by_transaction", "transaction_hash"),
    schema="executor",
    comment="The venue's trades of our orders. Positions are a view of them.",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("proxy", Text, primary_key=True),
    Column(
        "ciphertext",
        LargeBinary,
        nullable=False,
        comment="Encrypted with a key that is derived from the wallet's private key",
    ),
    Column("created_at", TIMESTAMP, nullable=False, server_default=NOW),
    Column("updated_at", TIMESTAMP, nullable=False, server_default=NOW),
    schema="executor",
    comment="The followers' API keys at the venue. Any row may be deleted: it is derived anew.",
)
