"""Indexes by which rows that are old enough to be pruned are found. They are small, cost next to
nothing to write, and their columns stay out of the way of updates in place (BRIN).
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

INDEXES = (
    ("fills_by_age", "ingest", "fills", "seen_at"),
    ("copy_slices_by_age", "ingest", "copy_slices", "intended_at"),
    ("exits_by_age", "preflight", "exits", "updated_at"),
)


def upgrade() -> None:
    for name, schema, table, column in INDEXES:
        op.create_index(name, table, [column], schema=schema, postgresql_using="brin")


def downgrade() -> None:
    for name, schema, table, _ in INDEXES:
        op.drop_index(name, table_name=table, schema=schema)
