"""Tables of tx-monitor: the transactions that it watches, the transfers that it sends, and how far
it read the chain.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shared.db.partitions import partitioning
from shared.db.tables.base import FEW_ROWS, TIMESTAMP, metadata, timestamp

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

transfers = Table(
    "transfers",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("proxy", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("token_id", Text, comment="Null: pUSD"),
    Column("amount", BigInteger, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("intent_id", Text, nullable=False),
    Column("send_before", TIMESTAMP),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("nonce", BigInteger, comment="Null: no transaction was signed"),
    Column("mined_hash", Text, nullable=False, server_default=""),
    Column("block_number", BigInteger),
    Column("block_hash", Text, nullable=False, server_default=""),
    Column(
        "is_reported",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether this state was published",
    ),
    Column(
        "revision",
        BigInteger,
        nullable=False,
        server_default="1",
        comment="Grows with each state that is published",
    ),
    Column("traceparent", Text),
    timestamp("requested_at", nullable=False),
    timestamp("changed_at", nullable=False),
    UniqueConstraint("operator", "nonce", name="transfers_nonce"),
    # What an operator wallet has to do, or a person; what is closed and reported is not in it.
    Index(
        "transfers_open",
        "operator",
        "requested_at",
        postgresql_where=text(
            "not is_reported or state in "
            "('queued', 'sent', 'cancelling', 'mined', 'reverted', 'cancel_mined', 'lost')"
        ),
    ),
    # For the newest, which a command lists.
    Index("transfers_by_time", "requested_at", "request_id"),
    # One at a time of each proxy, whichever operator wallets they are of.
    Index(
        "transfers_open_by_proxy",
        "proxy",
        unique=True,
        postgresql_where=text(
            "state in ('sent', 'cancelling', 'mined', 'reverted', 'cancel_mined')"
        ),
    ),
    schema="tx_monitor",
    comment="Transfers between operator wallets and proxies, each sent with one nonce.",
)
attempts = Table(
    "attempts",
    metadata,
    Column("tx_hash", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False, comment="The signed transaction"),
    Column("gas", BigInteger, nullable=False),
    Column("max_fee", BigInteger, nullable=False, comment="Wei for each gas"),
    Column("tip", BigInteger, nullable=False, comment="Wei for each gas"),
    Column("signed_at_block", BigInteger, nullable=False),
    timestamp("signed_at", nullable=False),
    UniqueConstraint("request_id", "number", name="attempts_number"),
    schema="tx_monitor",
    comment="The signed versions of a transfer, each recorded before it is sent.",
)

operators = Table(
    "operators",
    metadata,
    Column("operator", Text, primary_key=True),
    Column("next_nonce", BigInteger, nullable=False, comment="The lowest that was never signed"),
    Column("halted_because", Text, nullable=False, server_default="", comment="Empty: not halted"),
    timestamp("halted_at"),
    schema="tx_monitor",
    comment="Operator wallets: their nonces, and whether they begin transfers.",
)

transfer_decisions = Table(
    "transfer_decisions",
    metadata,
    Column("subject", Text, nullable=False, comment="A request's id, or an operator wallet"),
    timestamp("made_at", nullable=False),
    Column("made_by", Text, nullable=False),
    Column("decision", Text, nullable=False, comment="transferred, not_transferred or resumed"),
    Column("why", Text, nullable=False),
    Index("transfer_decisions_by_subject", "subject"),
    schema="tx_monitor",
    comment="Who resolved which lost transfer, or resumed which wallet, and why. Append-only.",
)
