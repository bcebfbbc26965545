"""Feeds that are shared out: their positions, and which message of a row makes intents."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "copy_slices",
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            comment="When a feed saw the row: only the message that says so makes the intents "
            "again; null in old rows: every message of the row does",
        ),
        schema="ingest",
    )
    op.add_column(
        "copy_slices",
        sa.Column(
            "has_dated_ids",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="Whether its intents' ids begin with the day of intended_at; false in old rows",
        ),
        schema="ingest",
    )
    op.create_table_comment(
        "cursors",
        "How far a single chain feed read all leaders, before feeds were shared out: where "
        "partition_cursors begin.",
        existing_comment="How far the chain feed has read; it continues there after a gap.",
        schema="ingest",
    )
    op.create_table(
        "partition_cursors",
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("partition"),
        schema="ingest",
        comment="How far the chain feed has read the leaders of a partition of leader-fills; its "
        "next owner continues there.",
    )
    op.create_table(
        "leader_cursors",
        sa.Column("leader", sa.Text(), nullable=False),
        sa.Column(
            "read_to",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="All that the Data API knew of him up to then was published",
        ),
        sa.PrimaryKeyConstraint("leader"),
        schema="ingest",
        comment="How far the Data API feed has read each leader; it continues there after a gap.",
    )


def downgrade() -> None:
    """The single cursor is again where all leaders were read to: the lowest of the partitions."""
    op.execute(
        "insert into ingest.cursors (feed, block_number) "
        "select 'chain', min(block_number) from ingest.partition_cursors having count(*) > 0 "
        "on conflict (feed) do update "
        "set block_number = greatest(cursors.block_number, excluded.block_number)"
    )
    op.drop_table("leader_cursors", schema="ingest")
    op.drop_table("partition_cursors", schema="ingest")
    op.create_table_comment(
        "cursors",
        "How far the chain feed has read; it continues there after a gap.",
        existing_comment="How far a single chain feed read all leaders, before feeds were shared "
        "out: where partition_cursors begin.",
        schema="ingest",
    )
    op.drop_column("copy_slices", "has_dated_ids", schema="ingest")
    op.drop_column("copy_slices", "seen_at", schema="ingest")
