"""Tables of follows, modes, leases and dead letters, which all services share."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shared.db.sql import literals
from shared.db.tables.base import NOW, TIMESTAMP, metadata, timestamp
from shared.streams.dead_letter_store import OPEN_DEAD_LETTER_STATES

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
    Column(
        "exits",
        Text,
        nullable=False,
        server_default="proportional",
        comment="What is sold when the leader sells: proportional, all or none",
    ),
    Column("equity_percent", Numeric),
    Column(
        "tiers",
        Text,
        nullable=False,
        server_default="[]",
        comment="JSON: sizes by the size of the leader's trade",
    ),
    Column(
        "entries",
        Text,
        nullable=False,
        server_default="trades",
        comment="What is bought: trades, mirror or none",
    ),
    Column(
        "at_end",
        Text,
        nullable=False,
        server_default="keep",
        comment="What happens to its shares when it ends: keep, close_out or follow",
    ),
    Column(
        "counter",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether the complementary outcome is traded",
    ),
    Column(
        "filters",
        Text,
        nullable=False,
        server_default="{}",
        comment="JSON: which entries are copied",
    ),
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
    timestamp("parked_at", nullable=False),
    timestamp("resolved_at"),
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
    timestamp("made_at", nullable=False),
    Column("made_by", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("why", Text, nullable=False),
    Index("dead_letter_decisions_by_number", "number"),
    schema="control",
    comment="Who redrove or discarded which dead letter, and why. Append-only.",
)
