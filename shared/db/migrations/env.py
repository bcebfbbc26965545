"""What Alembic runs: the migrations on the connection that it was given."""

from alembic import context

from shared.db.tables import SCHEMAS, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_schemas=True,
    include_name=lambda name, kind, _: name in SCHEMAS if kind == "schema" else True,
    version_table_schema="control",
)
with context.begin_transaction():
    context.run_migrations()
