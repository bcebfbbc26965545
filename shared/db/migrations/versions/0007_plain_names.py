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
COMMENTS = (
    (
        "executor",
        "orders",
        "body",
        "The exact bytes to send, now and ever after; empty where it was withdrawn unsigned",
        "The exact bytes to send, never changed; empty where it was withdrawn unsigned",
    ),
    (
        "executor",
        "orders",
        "last_reply",
        "What the venue has said of an order that has no outcome yet",
        "The venue's last usable reply to an order that has no outcome yet",
    ),
    (
        "executor",
        "orders",
        "empty_lookups",
        "At the venue, since then, that found no trade of it",
        "Lookups without a result since it was last sent or became unverified",
    ),
    (
        "executor",
        "orders",
        "alerted_at",
        "When a human was called: not resolved in time",
        "When the operator was alerted: not resolved in time",
    ),
    (
        "executor",
        "orders",
        "requested_shares",
        "Micro-shares that an exit was to sell; 0 on an entry",
        "Micro-shares that an exit was to sell; 0 for an entry",
    ),
    (
        "executor",
        "orders",
        "intent",
        "JSON, of an exit: what is left of it may go around again",
        "JSON, of an exit: its remainder may be intended again; empty for an entry",
    ),
)
TABLE_COMMENTS = (
    (
        "executor",
        "orders",
        "One order per intent, kept before it is sent.",
        "One order per intent, recorded before it is sent.",
    ),
    (
        "executor",
        "trades",
        "The venue's trades of our orders. Positions are a view of them, so that the two cannot "
        "drift apart.",
        "The venue's trades of our orders. Positions are a view of them, so the two agree.",
    ),
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
    for schema, table, column, old, new in COMMENTS:
        op.alter_column(table, column, comment=new, existing_comment=old, schema=schema)
    for schema, table, old, new in TABLE_COMMENTS:
        op.create_table_comment(table, new, existing_comment=old, schema=schema)
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
    for schema, table, old, new in TABLE_COMMENTS:
        op.create_table_comment(table, old, existing_comment=new, schema=schema)
    for schema, table, column, old, new in COMMENTS:
        op.alter_column(table, column, comment=old, existing_comment=new, schema=schema)
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
