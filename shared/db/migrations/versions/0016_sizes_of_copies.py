"""What follows carry from one trade to a later one."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0011"
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
        sa.Column("state", sa.Text(), nullable=False, comment="intended, below_minimum or carried"),
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
        sa.Index("copy_sizes_of_follow", "follow_id", "token_id", "number", unique=True),
        schema="ingest",
        comment="What a follow copies of a slice, where it carries something; the last row of a "
        "follow and token says what it carries.",
    )


def downgrade() -> None:
    """What is carried is forgotten: the older release lets it go."""
    op.drop_table("copy_sizes", schema="ingest")
