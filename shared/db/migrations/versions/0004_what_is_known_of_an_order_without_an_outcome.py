"""What is known of an order that has no outcome yet, and whether a human was called."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    said, seen = (
        "What the venue has said of an order that has no outcome yet",
        "At the venue, since then, that found no trade of it",
    )
    for column in (
        sa.Column("told", sa.Text(), server_default="", nullable=False, comment=said),
        sa.Column("doubted_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looks", sa.BigInteger(), server_default="0", nullable=False, comment=seen),
        sa.Column(
            "alerted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a human was called: not resolved in time",
        ),
    ):
        op.add_column("orders", column, schema="executor")


def downgrade() -> None:
    for name in ("alerted_at", "looks", "doubted_since", "told"):
        op.drop_column("orders", name, schema="executor")
