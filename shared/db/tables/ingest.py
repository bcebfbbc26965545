"""Tables of ingest: leaders' fills and what of them is copied."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Numeric, Table, Text, text

from shared.db.tables.base import TIMESTAMP, metadata

cursors = Table(
    "cursors",
    metadata,
    Column("feed", Text, primary_key=True),
    Column("block_number", BigInteger, nullable=False),
    schema="ingest",
    comment="How far a single chain feed read all leaders, before feeds were shared out: where "
    "partition_cursors begin.",
)

partition_cursors = Table(
    "partition_cursors",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("block_number", BigInteger, nullable=False),
    schema="ingest",
    comment="How far the chain feed has read the leaders of a partition of leader-fills; its next "
    "owner continues there.",
)

leader_cursors = Table(
    "leader_cursors",
    metadata,
    Column("leader", Text, primary_key=True),
    Column(
        "read_to",
        TIMESTAMP,
        nullable=False,
        comment="All that the Data API knew of him up to then was published",
    ),
    schema="ingest",
    comment="How far the Data API feed has read each leader; it continues there after a gap.",
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
    Column(
        "lowest_price",
        Numeric,
        comment="USDC per share: of the row, or of the whole trade where the source reports it "
        "whole; null in old rows",
    ),
    Column("highest_price", Numeric, comment="As lowest_price"),
    Index("fills_by_leader", "leader", "filled_at"),
    Index("fills_by_age", "seen_at", postgresql_using="brin"),
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
    Column(
        "seen_at",
        TIMESTAMP,
        comment="When a feed saw the row: only the message that says so makes the intents again; "
        "null in old rows: every message of the row does",
    ),
    Column(
        "has_dated_ids",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether its intents' ids begin with the day of intended_at; false in old rows",
    ),
    Index("copy_slices_by_age", "intended_at", postgresql_using="brin"),
    Index("copy_slices_sequence", "trade_id", "sequence", unique=True),
    Index("copy_slices_resent", "resent_of", postgresql_where=text("resent_of <> ''")),
    schema="ingest",
    comment="The copied slices of a trade: the first one, and one for each later increase.",
)

complements = Table(
    "complements",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("complement_id", Text, nullable=False),
    Column(
        "outcome",
        Text,
        nullable=False,
        comment="Of the complement; empty: the venue did not say",
    ),
    schema="ingest",
    comment="The other token of a binary market, once it was looked up; it never changes.",
)

copy_sizes = Table(
    "copy_sizes",
    metadata,
    Column("trade_id", Text, primary_key=True),
    Column("sequence", Integer, primary_key=True, comment="Of the slice in its trade"),
    Column("follow_id", Text, primary_key=True),
    Column("token_id", Text, nullable=False),
    Column(
        "number", Integer, nullable=False, comment="Sizes of the follow and token before this one"
    ),
    Column(
        "state",
        Text,
        nullable=False,
        comment="intended, below_minimum, carried or equity_unknown",
    ),
    Column("usdc", BigInteger, nullable=False),
    Column("carried_usdc", BigInteger, nullable=False, comment="Of usdc, from earlier trades"),
    Column(
        "accrued_usdc",
        BigInteger,
        nullable=False,
        comment="What the follow's terms made of the trade, with this slice",
    ),
    Column(
        "let_go_usdc",
        BigInteger,
        nullable=False,
        comment="Carried before, and not any more",
    ),
    Column("lots", Text, nullable=False, comment="JSON: what is carried after this slice"),
    Column("leader_equity_usdc", BigInteger, comment="Of a share of the equity; null: not known"),
    Column("follower_equity_usdc", BigInteger, comment="As for the leader"),
    Index("copy_sizes_of_follow", "follow_id", "token_id", "number", unique=True),
    schema="ingest",
    comment="What a follow copies of a slice, where that rests on more than the trade; the last "
    "row of a follow and token says what it carries.",
)

equities = Table(
    "equities",
    metadata,
    Column("wallet", Text, primary_key=True),
    Column("read_at", TIMESTAMP, primary_key=True),
    Column("usdc", BigInteger, nullable=False, comment="pUSD and the value of the positions"),
    Index("equities_by_age", "read_at"),
    schema="ingest",
    comment="What wallets were worth, of follows that copy a share of the equity.",
)
