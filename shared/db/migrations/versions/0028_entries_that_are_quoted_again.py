"""Entries also wait to be quoted again."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TABLE = "delayed_entries"
BEFORE = "One row per entry that waits for the rate of its follower, until its verdict."
AFTER = "One row per entry that waits to be judged again, until its verdict."


def upgrade() -> None:
    op.create_table_comment(TABLE, AFTER, existing_comment=BEFORE, schema="preflight")


def downgrade() -> None:
    op.create_table_comment(TABLE, BEFORE, existing_comment=AFTER, schema="preflight")
