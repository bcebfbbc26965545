"""Declares every table. Amounts are base units, addresses checksummed text, times with zone."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shared.db.sql import literals
from shared.domain.money import MIN_REMAINDER_SHARES
from shared.messages.orders import OPEN_ORDER_STATES
from shared.streams.dead_letter_store import OPEN_DEAD_LETTER_STATES

metadata = MetaData()

SCHEMAS = ("control", "ingest", "preflight", "executor", "tx_monitor", "debt_recovery")
TIMESTAMP = DateTime(timezone=True)
NOW = text("clock_timestamp()")


def _timestamp(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, TIMESTAMP, nullable=nullable)


versions = Table(
    "versions",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("made_at", TIMESTAMP, nullable=False, server_default=NOW),
    Column("made_by", Text, nullable=False),
    Column("change", Text, nullable=False),
    schema="control",
    comment="One row per change of a follow or a mode: the audit log, and all versions.",
)

follows = Table(
    "follows",
    metadata,
    Column("follow_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("leader", Text, nullable=False),
    Column("proxy", Text, nullable=False),
    Column("percent", Numeric),
    Column("fixed_usdc", BigInteger),
    Column("min_usdc", BigInteger, nullable=False),
    Column("max_usdc", BigInteger, nullable=False),
    Column("max_slippage_bps", Numeric, nullable=False),
    Column("daily_cap_usdc", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    schema="control",
    comment="Append-only: the newest version of a follow applies.",
)

modes = Table(
    "modes",
    metadata,
    Column("scope", Text, primary_key=True, comment="global, leader:ADDRESS or follower:ADDRESS"),
    Column("version", BigInteger, primary_key=True),
    Column("mode", Text, nullable=False),
    schema="control",
    comment="Append-only: the newest version of a scope applies.",
)

leases = Table(
    "leases",
    metadata,
    Column("service", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("token", BigInteger, nullable=False, comment="Fencing token: grows with every holder"),
    Column("holder", Text, nullable=False),
    Column("expires_at", TIMESTAMP, nullable=False),
    schema="control",
    comment="Which instance of a service may write for a partition.",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("service", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("record_offset", BigInteger, nullable=False),
    Column("record_at", BigInteger, nullable=False, comment="Milliseconds since 1970"),
    Column("record_key", LargeBinary, nullable=False),
    Column("record_value", LargeBinary, nullable=False),
    Column("record_headers", Text, nullable=False, comment="JSON: pairs of name and base64"),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _timestamp("parked_at", nullable=False),
    _timestamp("resolved_at"),
    UniqueConstraint("service", "topic", "partition", "record_offset", name="dead_letters_record"),
    Index(
        "dead_letters_open",
        "service",
        "topic",
        "record_key",
        postgresql_where=text(f"state in {literals(OPEN_DEAD_LETTER_STATES)}"),
    ),
    schema="control",
    comment="Messages that could not be handled, and those that wait behind them.",
)

dead_letter_decisions = Table(
    "dead_letter_decisions",
    metadata,
    Column("number", BigInteger, nullable=False),
    _timestamp("made_at", nullable=False),
    Column("made_by", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("why", Text, nullable=False),
    Index("dead_letter_decisions_by_number", "number"),
    schema="control",
    comment="Who redrove or discarded which dead letter, and why. Append-only.",
)

cursors = Table(
    "cursors",
    metadata,
    Column("feed", Text, primary_key=True),
    Column("block_number", BigInteger, nullable=False),
    schema="ingest",
    comment="How far the chain feed has read; it continues there after a gap.",
)

fills = Table(
    "fills",
    metadata,
    Column("trade_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("row_id", Text, primary_key=True),
    Column("row_type", Text, primary_key=True, server_default=""),
    Column("shares", BigInteger, nullable=False),
    Column("seen_at", TIMESTAMP, nullable=False),
    Column(
        "leader",
        Text,
        comment="Null in old rows, like the next four: such a row is compared with no other",
    ),
    Column("transaction_hash", Text),
    Column("token_id", Text),
    Column("side", Text),
    Column("filled_at", TIMESTAMP, comment="Time of the fill by the venue or the block"),
    Column(
        "awaits_confirmation",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="It counts only once its own transaction is in a block",
    ),
    Index("fills_by_leader", "leader", "filled_at"),
    Index(
        "fills_from_socket",
        "leader",
        "row_id",
        "filled_at",
        postgresql_where=text("source = 'rtds'"),
    ),
    schema="ingest",
    comment="Every row of every feed, once: a leader's trade is assembled from them.",
)

copy_slices = Table(
    "copy_slices",
    metadata,
    Column("trade_id", Text, primary_key=True),
    Column("from_shares", BigInteger, primary_key=True),
    Column("to_shares", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("row_id", Text, nullable=False, comment="The row that this slice was first seen in"),
    Column("controls_version", BigInteger, nullable=False),
    Column("intended_at", TIMESTAMP, nullable=False),
    Column(
        "resent_of",
        Text,
        primary_key=True,
        server_default="",
        comment="The trade that it was already copied as; empty: copied as this one",
    ),
    Column(
        "fill",
        Text,
        comment="JSON, of a slice copied as another trade: the fill to publish if they are two",
    ),
    Column("row_type", Text, nullable=False, server_default=""),
    Column("sequence", Integer, nullable=False, comment="Slices of the trade before this one"),
    Column("leader_usdc", BigInteger, comment="Null in old rows"),
    Column("leader_held_shares", BigInteger, comment="Before the sale; null on a BUY"),
    Index("copy_slices_sequence", "trade_id", "sequence", unique=True),
    Index("copy_slices_resent", "resent_of", postgresql_where=text("resent_of <> ''")),
    schema="ingest",
    comment="The copied slices of a trade: the first one, and one for each later increase.",
)

intents = Table(
    "intents",
    metadata,
    Column("intent_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column(
        "reserved_usdc",
        BigInteger,
        nullable=False,
        comment="Reserved while open; the amount that was spent once settled",
    ),
    Column("reserved_shares", BigInteger, nullable=False),
    Column(
        "cap_usdc",
        BigInteger,
        nullable=False,
        comment="The amount that counts against the daily cap",
    ),
    Column("day", Date, nullable=False, comment="UTC day that the cap was reserved on"),
    Column("verdict", Text, nullable=False, comment="JSON, as published: redeliveries repeat it"),
    Column("traceparent", Text),
    _timestamp("judged_at", nullable=False),
    _timestamp("settled_at"),
    Index("intents_by_proxy", "proxy", "settled_at"),
    schema="preflight",
    comment="One row per intent, written before its verdict is published.",
)

spending = Table(
    "spending",
    metadata,
    Column("proxy", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("spent_usdc", BigInteger, nullable=False),
    schema="preflight",
    comment="What each follower's approved copies of a UTC day count against his cap.",
)

ORDER_IS_OPEN = f"state in {literals(OPEN_ORDER_STATES)}"
"""A row of executor.orders that is followed until it is final."""

ORDER_HAS_REMAINDER = f"""
intent <> '' and requested_shares - shares >= {MIN_REMAINDER_SHARES}
and (state = 'confirmed' or (state = 'killed' and last_reply = 'killed'))
"""
"""A row of executor.orders of an exit that is final and sold too little; none that was killed for
empty lookups alone."""

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
    Column("leader_price", Numeric, nullable=False),
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
    _timestamp("seen_at", nullable=False),
    _timestamp("intended_at", nullable=False),
    _timestamp("quoted_at", nullable=False),
    _timestamp("approved_at", nullable=False),
    _timestamp("signed_at", nullable=False),
    _timestamp("posted_at"),
    _timestamp("answered_at"),
    _timestamp("confirmed_at"),
    Column(
        "last_reply",
        Text,
        nullable=False,
        server_default="",
        comment="The venue's last reply about an order that has no outcome yet",
    ),
    _timestamp("unverified_since"),
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
        comment="JSON, of an exit: its remainder may be intended again as a new intent",
    ),
    Index("orders_open", "proxy", postgresql_where=text(ORDER_IS_OPEN)),
    Index("orders_with_remainder", "expires_at", postgresql_where=text(ORDER_HAS_REMAINDER)),
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
    _timestamp("matched_at", nullable=False),
    _timestamp("updated_at", nullable=False),
    Index("trades_by_proxy", "proxy", "token_id"),
    Index("trades_by_transaction", "transaction_hash"),
    schema="executor",
    comment="The venue's trades of our orders. Positions are a view of them.",
)

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
    _timestamp("requested_at", nullable=False),
    _timestamp("updated_at", nullable=False),
    Index(
        "watches_open", "state", postgresql_where=text("state not in ('final', 'final_reverted')")
    ),
    schema="tx_monitor",
    comment="Transactions that a service waits for.",
)

debts = Table(
    "debts",
    metadata,
    Column("debt_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("intent_id", Text, nullable=False),
    Column("creditor", Text, nullable=False),
    Column("usdc", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    _timestamp("raised_at", nullable=False),
    Index("debts_by_proxy", "proxy"),
    schema="debt_recovery",
    comment="What is owed, and the intent that it is owed for.",
)
