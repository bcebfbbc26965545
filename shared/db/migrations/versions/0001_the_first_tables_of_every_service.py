"""The first tables of every service."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

POSITIONS = """
create view executor.positions as
select proxy, token_id,
       sum(case side when 'BUY' then shares else -shares end)::bigint as shares,
       sum(case side when 'BUY' then -usdc else usdc end - fee_usdc)::bigint as cash_usdc,
       count(*) as trades
from executor.trades
where status <> 'FAILED'
group by proxy, token_id
"""


def upgrade() -> None:
    for owner in ("ingest", "preflight", "executor", "tx_monitor", "debt_recovery"):
        op.execute(f"create schema if not exists {owner}")
    op.create_table(
        "follows",
        sa.Column("follow_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("leader", sa.Text(), nullable=False),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("percent", sa.Numeric(), nullable=True),
        sa.Column("fixed_usdc", sa.BigInteger(), nullable=True),
        sa.Column("min_usdc", sa.BigInteger(), nullable=False),
        sa.Column("max_usdc", sa.BigInteger(), nullable=False),
        sa.Column("max_slippage_bps", sa.Numeric(), nullable=False),
        sa.Column("daily_cap_usdc", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("follow_id", "version"),
        schema="control",
        comment="Appended only: the newest version of a follow counts.",
    )
    op.create_table(
        "modes",
        sa.Column(
            "scope", sa.Text(), nullable=False, comment="global, leader:ADDRESS or follower:ADDRESS"
        ),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "version"),
        schema="control",
        comment="Appended only: the newest version of a scope counts.",
    )
    op.create_table(
        "versions",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
        schema="control",
        comment="One row per change of a follow or a mode: the audit log, and the "
        "version that a snapshot is asked for by.",
    )
    op.create_table(
        "debts",
        sa.Column("debt_id", sa.Text(), nullable=False),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("creditor", sa.Text(), nullable=False),
        sa.Column("usdc", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("debt_id"),
        schema="debt_recovery",
        comment="What is owed, and by which intent.",
    )
    op.create_index("debts_by_proxy", "debts", ["proxy"], unique=False, schema="debt_recovery")
    op.create_table(
        "orders",
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("order_hash", sa.Text(), nullable=False),
        sa.Column(
            "body",
            sa.Text(),
            nullable=False,
            comment="The exact bytes to send, now and ever after; empty where it was "
            "withdrawn unsigned",
        ),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("leader", sa.Text(), nullable=False),
        sa.Column("leader_price", sa.Numeric(), nullable=False),
        sa.Column("limit_price", sa.Numeric(), nullable=False),
        sa.Column("fee_rate", sa.Numeric(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("shares", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("usdc", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fee_usdc", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("quoted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("intent_id"),
        sa.UniqueConstraint("order_hash"),
        schema="executor",
        comment="One order per intent, kept before it is sent.",
    )
    op.create_index(
        "orders_open",
        "orders",
        ["proxy"],
        unique=False,
        schema="executor",
        postgresql_where=sa.text("state in ('signed', 'unknown', 'matched')"),
    )
    op.create_table(
        "trades",
        sa.Column("order_hash", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("shares", sa.BigInteger(), nullable=False),
        sa.Column("usdc", sa.BigInteger(), nullable=False),
        sa.Column("fee_usdc", sa.BigInteger(), nullable=False),
        sa.Column("transaction_hash", sa.Text(), server_default="", nullable=False),
        sa.Column("chain_state", sa.Text(), server_default="", nullable=False),
        sa.Column("matched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("order_hash", "trade_id"),
        schema="executor",
        comment="The venue's trades of our orders. Positions are a view of them, so that "
        "the two cannot drift apart.",
    )
    op.create_index(
        "trades_by_proxy", "trades", ["proxy", "token_id"], unique=False, schema="executor"
    )
    op.create_index(
        "trades_by_transaction", "trades", ["transaction_hash"], unique=False, schema="executor"
    )
    op.create_table(
        "cursors",
        sa.Column("feed", sa.Text(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feed"),
        schema="ingest",
        comment="How far the chain-log feed has read: where it goes on after a gap.",
    )
    op.create_table(
        "fills",
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("witness", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Text(), nullable=False),
        sa.Column("shares", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("trade_id", "witness", "row_id"),
        schema="ingest",
        comment="Every row of every feed, once: what a leader's trade is gathered from.",
    )
    op.create_table(
        "parts",
        sa.Column("trade_id", sa.Text(), nullable=False),
        sa.Column("from_shares", sa.BigInteger(), nullable=False),
        sa.Column("to_shares", sa.BigInteger(), nullable=False),
        sa.Column("witness", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Text(), nullable=False, comment="The row that made this part known"),
        sa.Column("controls_version", sa.BigInteger(), nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("trade_id", "from_shares"),
        schema="ingest",
        comment="What of a trade has been copied: the first sight, and each later top-up "
        "by its difference.",
    )
    op.create_table(
        "intents",
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "reserved_usdc",
            sa.BigInteger(),
            nullable=False,
            comment="Promised while open; what was really spent once settled",
        ),
        sa.Column("reserved_shares", sa.BigInteger(), nullable=False),
        sa.Column(
            "cap_usdc",
            sa.BigInteger(),
            nullable=False,
            comment="What it counts for in the daily cap",
        ),
        sa.Column("day", sa.Date(), nullable=False, comment="UTC day that the cap was reserved on"),
        sa.Column(
            "verdict",
            sa.Text(),
            nullable=False,
            comment="The verdict's message, as first told: a redelivery repeats it",
        ),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("intent_id"),
        schema="preflight",
        comment="One row per intent, written before anything happens.",
    )
    op.create_index(
        "intents_by_proxy", "intents", ["proxy", "settled_at"], unique=False, schema="preflight"
    )
    op.create_table(
        "spending",
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("spent_usdc", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("proxy", "day"),
        schema="preflight",
        comment="What each follower's approved copies of a UTC day count for in his cap.",
    )
    op.create_table(
        "watches",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("transaction_hash", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "fills",
            sa.Text(),
            nullable=False,
            comment="JSON: what the chain says that its orders gave and got",
        ),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
        schema="tx_monitor",
        comment="Transactions that somebody waits for.",
    )
    op.create_index(
        "watches_open",
        "watches",
        ["state"],
        unique=False,
        schema="tx_monitor",
        postgresql_where=sa.text("state not in ('final', 'final_reverted')"),
    )
    op.execute(POSITIONS)
