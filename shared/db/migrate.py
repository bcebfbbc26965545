"""Migrates the database to this release's schema, and checks that it matches."""

from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.errors import InvalidSettings

LOCK = 7_261_043_118
"""Any constant, for an advisory lock: concurrent migrations wait for one another."""

NO_IDLE_TIMEOUT = text("set local idle_in_transaction_session_timeout = 0")
"""Between two statements Alembic compares and plans in Python. On a busy machine that takes longer
than a service's transaction may be idle."""

NOT_MIGRATED = (
    "DATABASE_URL: the database does not have this release's tables: run `slipstream db migrate`"
)
NEVER_MIGRATED_SQLSTATES = ("3F000", "42P01")
"""SQLSTATEs of a missing schema and a missing table: the database was never migrated."""


def config(connection: Connection) -> Config:
    alembic = Config(stdout=StringIO())  # Alembic prints what our commands' users did not ask for
    alembic.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    alembic.attributes["connection"] = connection
    return alembic


async def migrate(engine: AsyncEngine) -> None:
    """Run the missing migrations; safe to call from several processes at the same time."""

    def upgrade(connection: Connection) -> None:
        connection.execute(NO_IDLE_TIMEOUT)
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("create schema if not exists control"))
        command.upgrade(config(connection), "head")

    async with engine.begin() as connection:
        await connection.run_sync(upgrade)


async def require_migrated(engine: AsyncEngine) -> None:
    """Check that the database has this release's schema.

    Raises: InvalidSettings where it does not, or where the database cannot be reached.
    """
    try:
        differences = await find_differences(engine)
    except (OSError, DBAPIError) as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) in NEVER_MIGRATED_SQLSTATES:
            raise InvalidSettings(NOT_MIGRATED) from error
        raise InvalidSettings(
            f"DATABASE_URL: the database cannot be used: {type(error).__name__}"
        ) from error
    if differences:
        raise InvalidSettings(NOT_MIGRATED)


async def find_differences(engine: AsyncEngine) -> str:
    """Return how the database differs from the tables in code; empty where they match."""

    def check(connection: Connection) -> str:
        connection.execute(NO_IDLE_TIMEOUT)
        try:
            command.check(config(connection))
        except CommandError as error:
            return str(error)
        return ""

    async with engine.begin() as connection:
        return await connection.run_sync(check)
