"""Columns, a table, comments and stored messages get the names that the code uses now."""

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
    ("control", "dead_letters", "settled_at", "resolved_at"),
)
TABLE_COMMENTS = (
    (
        "executor",
        "orders",
        "One order per intent, kept before it is sent.",
        "One order per intent, recorded before it is sent.",
    ),
    (
        "control",
        "versions",
        "One row per change of a follow or a mode: the audit log, and the version that a "
        "snapshot is asked for by.",
        "One row per change of a follow or a mode: the audit log, and all versions.",
    ),
    (
        "control",
        "follows",
        "Appended only: the newest version of a follow counts.",
        "Append-only: the newest version of a follow applies.",
    ),
    (
        "control",
        "modes",
        "Appended only: the newest version of a scope counts.",
        "Append-only: the newest version of a scope applies.",
    ),
    (
        "control",
        "dead_letter_decisions",
        "Who redrove or discarded which parked message, and why. Appended only.",
        "Who redrove or discarded which dead letter, and why. Append-only.",
    ),
    (
        "ingest",
        "cursors",
        "How far the chain-log feed has read: where it goes on after a gap.",
        "How far the chain feed has read; it continues there after a gap.",
    ),
    (
        "ingest",
        "fills",
        "Every row of every feed, once: what a leader's trade is gathered from.",
        "Every row of every feed, once: a leader's trade is assembled from them.",
    ),
    (
        "ingest",
        "copy_slices",
        "What of a trade has been copied: the first sight, and each later top-up by its "
        "difference.",
        "The copied slices of a trade: the first one, and one for each later increase.",
    ),
    (
        "preflight",
        "intents",
        "One row per intent, written before anything happens.",
        "One row per intent, written before its verdict is published.",
    ),
    (
        "preflight",
        "spending",
        "What each follower's approved copies of a UTC day count for in his cap.",
        "What each follower's approved copies of a UTC day count against his cap.",
    ),
    (
        "executor",
        "trades",
        "The venue's trades of our orders. Positions are a view of them, so that the two cannot"
        " drift apart.",
        "The venue's trades of our orders. Positions are a view of them.",
    ),
    (
        "tx_monitor",
        "watches",
        "Transactions that somebody waits for.",
        "Transactions that a service waits for.",
    ),
    (
        "debt_recovery",
        "debts",
        "What is owed, and by which intent.",
        "What is owed, and the intent that it is owed for.",
    ),
)
COLUMN_COMMENTS = (
    (
        "executor",
        "orders",
        "requested_shares",
        "Micro-shares that an exit was to sell; 0 on an entry",
        "Micro-shares that an exit was to sell; 0 for an entry",
    ),
    (
        "control",
        "leases",
        "token",
        "Grows with every new holder: what is written with an old one is refused",
        "Fencing token: grows with every holder",
    ),
    (
        "ingest",
        "fills",
        "leader",
        "Null, as the next four: from before they were kept; such a row is nobody's neighbour",
        "Null in old rows, like the next four: such a row is compared with no other",
    ),
    (
        "ingest",
        "fills",
        "filled_at",
        "When the venue or the block says that it happened",
        "Time of the fill by the venue or the block",
    ),
    (
        "ingest",
        "fills",
        "awaits_confirmation",
        "It counts once its own transaction is in a block",
        "It counts only once its own transaction is in a block",
    ),
    (
        "ingest",
        "copy_slices",
        "row_id",
        "The row that made this part known",
        "The row that this slice was first seen in",
    ),
    (
        "ingest",
        "copy_slices",
        "resent_of",
        "The trade as which it was copied already; empty: copied as this one",
        "The trade that it was already copied as; empty: copied as this one",
    ),
    (
        "ingest",
        "copy_slices",
        "fill",
        "JSON, of a part that was copied as another trade: the row to tell again if the two are"
        " two",
        "JSON, of a slice copied as another trade: the fill to publish if they are two",
    ),
    (
        "preflight",
        "intents",
        "reserved_usdc",
        "Promised while open; what was really spent once settled",
        "Reserved while open; the amount that was spent once settled",
    ),
    (
        "preflight",
        "intents",
        "cap_usdc",
        "What it counts for in the daily cap",
        "The amount that counts against the daily cap",
    ),
    (
        "preflight",
        "intents",
        "verdict",
        "The verdict's message, as first told: a redelivery repeats it",
        "JSON, as published: redeliveries repeat it",
    ),
    (
        "executor",
        "orders",
        "body",
        "The exact bytes to send, now and ever after; empty where it was withdrawn unsigned",
        "The exact bytes to send at every attempt; empty where it was withdrawn unsigned",
    ),
    (
        "executor",
        "orders",
        "last_reply",
        "What the venue has said of an order that has no outcome yet",
        "The venue's last reply about an order that has no outcome yet",
    ),
    (
        "executor",
        "orders",
        "empty_lookups",
        "At the venue, since then, that found no trade of it",
        "Lookups at the venue since unverified_since that found no trade of it",
    ),
    (
        "executor",
        "orders",
        "alerted_at",
        "When a human was called: not resolved in time",
        "When an operator was alerted: it was not resolved in time",
    ),
    (
        "executor",
        "orders",
        "intent",
        "JSON, of an exit: what is left of it may go around again",
        "JSON, of an exit: its remainder may be intended again as a new intent",
    ),
    (
        "tx_monitor",
        "watches",
        "fills",
        "JSON: what the chain says that its orders gave and got",
        "JSON: what its orders gave and received, by the chain's logs",
    ),
    (
        "control",
        "dead_letters",
        "record_at",
        "When the record was written: milliseconds since 1970",
        "Milliseconds since 1970",
    ),
)
INDEXES = (
    ("ingest", "fills_told", "fills_from_socket"),
    ("ingest", "parts_resent", "copy_slices_resent"),
    ("ingest", "parts_pkey", "copy_slices_pkey"),
)
"""By the new names: schema, table, column where it is one, the old and the new comment."""

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
    for schema, table, old, new in TABLE_COMMENTS:
        op.create_table_comment(table, new, existing_comment=old, schema=schema)
    for schema, old, new in INDEXES:
        op.execute(f"alter index {schema}.{old} rename to {new}")
    for schema, table, column, old, new in COLUMN_COMMENTS:
        op.alter_column(table, column, comment=new, existing_comment=old, schema=schema)
    for table, column, old, new in FIELDS:
        rename_field(table, column, old, new)
    for old, new in REPLIES:
        rename_reply("last_reply", old, new)


def downgrade() -> None:
    for old, new in REPLIES:
        rename_reply("last_reply", new, old)
    for table, column, old, new in FIELDS:
        rename_field(table, column, new, old)
    for schema, table, column, old, new in COLUMN_COMMENTS:
        op.alter_column(table, column, comment=old, existing_comment=new, schema=schema)
    for schema, table, old, new in TABLE_COMMENTS:
        op.create_table_comment(table, old, existing_comment=new, schema=schema)
    for schema, old, new in INDEXES:
        op.execute(f"alter index {schema}.{new} rename to {old}")
    for schema, table, old, new in COLUMNS:
        op.alter_column(table, new, new_column_name=old, schema=schema)
    op.rename_table("copy_slices", "parts", schema="ingest")


def rename_field(table: str, column: str, old: str, new: str) -> None:
    """Rename a field of the JSON in a text column, with every other byte left as it is.

    A quoted name with a colon is a field and never part of a value, where quotes are escaped; each
    of these names occurs once in its message. Not by way of ``jsonb``, which refuses a text that
    contains ``\\u0000``.
    """
    op.execute(
        f"""update {table} set {column} = replace({column}, '"{old}":', '"{new}":') """
        f"""where {column} like '%"{old}":%'"""
    )


def rename_reply(column: str, old: str, new: str) -> None:
    op.execute(f"update executor.orders set {column} = '{new}' where {column} = '{old}'")
