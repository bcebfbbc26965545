"""Migrates the database to this release's schema, and checks that this release can run on it."""

import logging
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, fetch_rows, without_limits
from shared.db.errors import DATABASE_ERRORS, find_cause
from shared.db.tables import SCHEMAS, metadata
from shared.domain.errors import InvalidSettings, Transient

logger = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).with_name("migrations")

LOCK = 7_261_043_118
"""Any constant, for an advisory lock: concurrent migrations wait for one another."""

NEVER_MIGRATED_SQLSTATES = ("3F000", "42P01")
"""SQLSTATEs of a missing schema and a missing table: the database was never migrated."""

LOAD_REVISIONS = "select version_num from control.alembic_version"
LOAD_COLUMNS = """
select n.nspname as schema, c.relname as table, a.attname as column,
       a.attnotnull and not a.atthasdef and a.attidentity = '' as is_required
from pg_attribute a
join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any(cast(:schemas as text[])) and a.attnum > 0 and not a.attisdropped
"""


def config(connection: Connection) -> Config:
    alembic = Config(stdout=StringIO())  # Alembic prints what our commands' users did not ask for
    alembic.set_main_option("script_location", str(_MIGRATIONS))
    alembic.attributes["connection"] = connection
    return alembic


async def migrate(engine: AsyncEngine) -> None:
    """Run the missing migrations; safe to call from several processes at the same time.

    Does nothing where a newer release has migrated the database further.
    """

    def upgrade(connection: Connection) -> None:
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("create schema if not exists control"))
        alembic = config(connection)
        if not _is_newer(_load_revisions(connection), ScriptDirectory.from_config(alembic)):
            command.upgrade(alembic, "head")

    async with without_limits(engine) as patient, patient.begin() as connection:
        await connection.run_sync(upgrade)


async def require_migrated(engine: AsyncEngine) -> None:
    """Check that this release can run on the database: it has been migrated at least as far, has
    every column that this release knows, and needs none that it does not know. What an operator
    or a newer release has added besides does not matter.

    Raises: InvalidSettings where it cannot, or where the database cannot be reached.
    """
    try:
        async with autocommit(engine) as connection:
            revisions = [row.version_num for row in await fetch_rows(connection, LOAD_REVISIONS)]
            columns = await fetch_rows(connection, LOAD_COLUMNS, schemas=list(SCHEMAS))
    except DATABASE_ERRORS as error:
        if getattr(error, "sqlstate", None) in NEVER_MIGRATED_SQLSTATES:
            raise InvalidSettings(_refusal("has not been migrated")) from error
        raise InvalidSettings(
            f"DATABASE_URL: the database cannot be used: {type(find_cause(error)).__name__}"
        ) from error
    except Transient as error:
        raise InvalidSettings(f"DATABASE_URL: {error}") from error
    _require_revision(revisions)
    _require_columns(
        {f"{each.schema}.{each.table}.{each.column}": each.is_required for each in columns}
    )


async def find_differences(engine: AsyncEngine) -> str:
    """Return how the database differs from the tables in code; empty where they match."""

    def check(connection: Connection) -> str:
        try:
            command.check(config(connection))
        except CommandError as error:
            return str(error)
        return ""

    async with without_limits(engine) as patient, patient.begin() as connection:
        return await connection.run_sync(check)


def _require_revision(revisions: Sequence[str]) -> None:
    """Raises: InvalidSettings."""
    scripts = ScriptDirectory(str(_MIGRATIONS))
    found, needed = ", ".join(revisions), scripts.get_current_head()
    if found == needed:
        return
    if not _is_newer(revisions, scripts):
        raise InvalidSettings(_refusal(f"is at revision {found or 'none'}, not at {needed}"))
    logger.info("the database has the tables of a newer release: %s, ours is %s", found, needed)


def _is_newer(revisions: Sequence[str], scripts: ScriptDirectory) -> bool:
    """Whether a newer release has migrated further. Revisions are numbers, each one's predecessor
    the one before it: a greater one that this release does not know comes after its own.
    """
    head = scripts.get_current_head() or "0"
    return bool(revisions) and all(each.isdecimal() and int(each) > int(head) for each in revisions)


def _require_columns(required_by_name: dict[str, bool]) -> None:
    """Raises: InvalidSettings."""
    known = {
        f"{table.schema}.{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
    }
    if missing := sorted(known - required_by_name.keys()):
        raise InvalidSettings(
            f"DATABASE_URL: the database lacks columns of this release: {', '.join(missing)}. A "
            "newer release has removed them: run that one. Else restore them, or a backup"
        )
    tables = {f"{table.schema}.{table.name}" for table in metadata.sorted_tables}
    unknown = sorted(
        name
        for name, is_required in required_by_name.items()
        if is_required and name not in known and name.rpartition(".")[0] in tables
    )
    if unknown:
        raise InvalidSettings(
            f"DATABASE_URL: this release does not know these columns, and the database needs a "
            f"value for them: {', '.join(unknown)}. Give them a default, or run the release that "
            "added them"
        )


def _load_revisions(connection: Connection) -> list[str]:
    """Empty: it was never migrated."""
    exists = connection.execute(text("select to_regclass('control.alembic_version')")).scalar()
    return list(connection.execute(text(LOAD_REVISIONS)).scalars()) if exists else []


def _refusal(reason: str) -> str:
    return f"DATABASE_URL: the database {reason}: run `slipstream db migrate` of this release"
