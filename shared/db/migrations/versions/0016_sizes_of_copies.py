"""What follows carry from one trade to a later one, and what wallets are worth."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "copy_sizes",
        sa.Column("trade_id", sa.Text(), primary_key=True),
        sa.Column("sequence", sa.Integer(), primary_key=True, comment="Of the slice in its trade"),
        sa.Column("follow_id", sa.Text(), primary_key=True),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column(
            "number",
            sa.Integer(),
            nullable=False,
            comment="Sizes of the follow and token before this one",
        ),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="intended, below_minimum, carried or equity_unknown",
        ),
        sa.Column("usdc", sa.BigInteger(), nullable=False),
        sa.Column(
            "carried_usdc",
            sa.BigInteger(),
            nullable=False,
            comment="Of usdc, from earlier trades",
        ),
        sa.Column(
            "accrued_usdc",
            sa.BigInteger(),
            nullable=False,
            comment="What the follow's terms made of the trade, with this slice",
        ),
        sa.Column(
            "let_go_usdc",
            sa.BigInteger(),
            nullable=False,
            comment="Carried before, and not any more",
        ),
        sa.Column(
            "lots", sa.Text(), nullable=False, comment="JSON: what is carried after this slice"
        ),
        sa.Column(
            "leader_equity_usdc",
            sa.BigInteger(),
            comment="Of a share of the equity; null: not known",
        ),
        sa.Column("follower_equity_usdc", sa.BigInteger(), comment="As for the leader"),
        sa.Index("copy_sizes_of_follow", "follow_id", "token_id", "number", unique=True),
        schema="ingest",
        comment="What a follow copies of a slice, where that rests on more than the trade; the "
        "last row of a follow and token says what it carries.",
    )
    op.create_table(
        "equities",
        sa.Column("wallet", sa.Text(), primary_key=True),
        sa.Column("read_at", sa.TIMESTAMP(timezone=True), primary_key=True),
        sa.Column(
            "usdc",
            sa.BigInteger(),
            nullable=False,
            comment="pUSD and the value of the positions",
        ),
        sa.Index("equities_by_age", "read_at"),
        schema="ingest",
        comment="What wallets were worth, of follows that copy a share of the equity.",
    )


def downgrade() -> None:
    """What is carried is forgotten: the older release lets it go."""
    op.drop_table("equities", schema="ingest")
    op.drop_table("copy_sizes", schema="ingest")
