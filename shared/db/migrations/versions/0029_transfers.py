"""Transfers between operator wallets and proxies, and the attempts to have them mined."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_transfers()
    create_attempts()
    op.create_table(
        "operators",
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column(
            "next_nonce",
            sa.BigInteger(),
            nullable=False,
            comment="The lowest that was never signed",
        ),
        sa.Column(
            "halted_because",
            sa.Text(),
            nullable=False,
            server_default="",
            comment="Empty: not halted",
        ),
        sa.Column("halted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("operator"),
        schema="tx_monitor",
        comment="Operator wallets: their nonces, and whether they begin transfers.",
    )

    create_decisions()


def create_transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), comment="Null: pUSD"),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("intent_id", sa.Text(), nullable=False),
        sa.Column("send_before", sa.DateTime(timezone=True)),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("nonce", sa.BigInteger(), comment="Null: no transaction was signed"),
        sa.Column("mined_hash", sa.Text(), nullable=False, server_default=""),
        sa.Column("block_number", sa.BigInteger()),
        sa.Column("block_hash", sa.Text(), nullable=False, server_default=""),
        sa.Column(
            "is_reported",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="Whether this state was published",
        ),
        sa.Column(
            "revision",
            sa.BigInteger(),
            nullable=False,
            server_default="1",
            comment="Grows with each state that is published",
        ),
        sa.Column("traceparent", sa.Text()),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
        sa.UniqueConstraint("operator", "nonce", name="transfers_nonce"),
        schema="tx_monitor",
        comment="Transfers between operator wallets and proxies, each sent with one nonce.",
    )
    op.create_index(
        "transfers_open",
        "transfers",
        ["operator", "requested_at"],
        schema="tx_monitor",
        postgresql_where=sa.text(
            "not is_reported or state in "
            "('queued', 'sent', 'cancelling', 'mined', 'reverted', 'cancel_mined', 'lost')"
        ),
    )
    op.create_index(
        "transfers_by_time", "transfers", ["requested_at", "request_id"], schema="tx_monitor"
    )
    op.create_index(
        "transfers_open_by_proxy",
        "transfers",
        ["proxy"],
        unique=True,
        schema="tx_monitor",
        postgresql_where=sa.text(
            "state in ('sent', 'cancelling', 'mined', 'reverted', 'cancel_mined')"
        ),
    )


def create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("tx_hash", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False, comment="The signed transaction"),
        sa.Column("gas", sa.BigInteger(), nullable=False),
        sa.Column("max_fee", sa.BigInteger(), nullable=False, comment="Wei for each gas"),
        sa.Column("tip", sa.BigInteger(), nullable=False, comment="Wei for each gas"),
        sa.Column("signed_at_block", sa.BigInteger(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tx_hash"),
        sa.UniqueConstraint("request_id", "number", name="attempts_number"),
        schema="tx_monitor",
        comment="The signed versions of a transfer, each recorded before it is sent.",
    )


def create_decisions() -> None:
    op.create_table(
        "transfer_decisions",
        sa.Column(
            "subject", sa.Text(), nullable=False, comment="A request's id, or an operator wallet"
        ),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column(
            "decision",
            sa.Text(),
            nullable=False,
            comment="transferred, not_transferred or resumed",
        ),
        sa.Column("why", sa.Text(), nullable=False),
        schema="tx_monitor",
        comment="Who resolved which lost transfer, or resumed which wallet, and why. Append-only.",
    )
    op.create_index(
        "transfer_decisions_by_subject", "transfer_decisions", ["subject"], schema="tx_monitor"
    )


def downgrade() -> None:
    for table in ("transfer_decisions", "operators", "attempts", "transfers"):
        op.drop_table(table, schema="tx_monitor")
