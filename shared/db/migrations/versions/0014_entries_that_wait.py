"""Entries over the rate of their follower wait, instead of being refused at once."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "delayed_entries",
        sa.Column("intent_id", sa.Text(), primary_key=True),
        sa.Column(
            "number",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="Of a follower's entries, the lowest comes first",
        ),
        sa.Column("proxy", sa.Text(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False, comment="JSON, as it is published again"),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("traceparent", sa.Text()),
        schema="preflight",
        comment="One row per entry that waits for the rate of its follower, until its verdict.",
    )
    op.create_index(
        "delayed_entries_by_proxy", "delayed_entries", ["proxy", "number"], schema="preflight"
    )
    op.create_index("delayed_entries_due", "delayed_entries", ["due_at"], schema="preflight")


def downgrade() -> None:
    """Entries that wait are forgotten: they were not copied, and get no verdict."""
    op.drop_table("delayed_entries", schema="preflight")
