"""Columns, a table and stored messages get the names that the code uses since this release."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = (
    ("ingest", "fills", "witness", "source"),
    ("ingest", "fills", "waits", "awaits_confirmation"),
    ("ingest", "copy_slices", "witness", "source"),
    ("executor", "orders", "told", "last_reply"),
    ("executor", "orders", "doubted_since", "unverified_since"),
    ("executor", "orders", "looks", "empty_lookups"),
    ("executor", "orders", "asked_shares", "requested_shares"),
)
INDEXES = (
    ("ingest", "fills_told", "fills_from_socket"),
    ("ingest", "parts_resent", "copy_slices_resent"),
    ("ingest", "parts_pkey", "copy_slices_pkey"),
)
FIELDS = (
    ("ingest.copy_slices", "fill", "witness", "source"),
    ("preflight.intents", "verdict", "judged", "facts"),
)
"""Messages that are stored as JSON and handed out again after a redelivery."""

REPLIES = (("not_now", "retry_later"),)


def upgrade() -> None:
    op.rename_table("parts", "copy_slices", schema="ingest")
    for schema, table, old, new in COLUMNS:
        op.alter_column(table, old, new_column_name=new, schema=schema)
    for schema, old, new in INDEXES:
        op.execute(f"alter index {schema}.{old} rename to {new}")
    for table, column, old, new in FIELDS:
        rename_field(table, column, old, new)
    for old, new in REPLIES:
        rename_reply("last_reply", old, new)


def downgrade() -> None:
    for old, new in REPLIES:
        rename_reply("last_reply", new, old)
    for table, column, old, new in FIELDS:
        rename_field(table, column, new, old)
    for schema, old, new in INDEXES:
        op.execute(f"alter index {schema}.{new} rename to {old}")
    for schema, table, old, new in COLUMNS:
        op.alter_column(table, new, new_column_name=old, schema=schema)
    op.rename_table("copy_slices", "parts", schema="ingest")


def rename_field(table: str, column: str, old: str, new: str) -> None:
    """Rename a top-level field of the JSON in a text column; rows without it stay as they are."""
    document = f"{column}::jsonb"
    op.execute(
        f"update {table} set {column} = "
        f"(({document} - '{old}') || jsonb_build_object('{new}', {document} -> '{old}'))::text "
        f"where {column} is not null and {column} <> '' and {document} ? '{old}'"
    )


def rename_reply(column: str, old: str, new: str) -> None:
    op.execute(f"update executor.orders set {column} = '{new}' where {column} = '{old}'")
