"""What Alembic runs: the migrations on the connection that it was given."""

from collections.abc import Mapping
from typing import Any

from alembic import context
from sqlalchemy import text

from shared.db.tables import SCHEMAS, metadata

connection = context.config.attributes["connection"]
partitions = {
    (row.schema, row.name)
    for row in connection.execute(
        text(
            "select relnamespace::regnamespace::text as schema, relname as name "
            "from pg_class where relispartition"
        )
    )
}


def is_compared(name: str | None, kind: str, parents: Mapping[Any, str | None]) -> bool:
    """Other schemas are not ours, and partitions are created as time goes on."""
    if kind == "schema":
        return name in SCHEMAS
    return kind != "table" or (parents["schema_name"], name) not in partitions


context.configure(
    connection=connection,
    target_metadata=metadata,
    include_schemas=True,
    include_name=is_compared,
    version_table_schema="control",
)
with context.begin_transaction():
    context.run_migrations()
