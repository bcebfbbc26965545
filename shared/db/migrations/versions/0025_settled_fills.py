"""How far the chain was read for the final fills of followers."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "partition_cursors",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partition"),
        schema="tx_monitor",
        comment="Up to which final block the fills of the followers of a partition of "
        "chain-requests were published; its next owner continues there.",
    )


def downgrade() -> None:
    op.drop_table("partition_cursors", schema="tx_monitor")
