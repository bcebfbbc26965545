"""Bring the database to this release's shape."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.errors import InvalidSettings

LOCK = 7_261_043_118
"""Any constant: two that migrate at once wait for one another."""

MAY_TAKE_ITS_TIME = text("set local idle_in_transaction_session_timeout = 0")
"""Between two statements Alembic compares and plans in Python: on a busy machine that takes longer
than a service may stand still."""

NOT_MIGRATED = (
    "DATABASE_URL: the database has not this release's tables: run `slipstream db migrate`"
)
NOTHING_THERE = ("3F000", "42P01")
"""SQLSTATEs of a schema and a table that are not there: the database was never migrated."""


def config(connection: Connection) -> Config:
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    alembic.attributes["connection"] = connection
    return alembic


async def migrate(engine: AsyncEngine) -> None:
    """Run what is missing; does nothing on a database that is up to date. Safe to call from several
    processes at once.
    """

    def upgrade(connection: Connection) -> None:
        connection.execute(MAY_TAKE_ITS_TIME)
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("create schema if not exists control"))
        command.upgrade(config(connection), "head")

    async with engine.begin() as connection:
        await connection.run_sync(upgrade)


async def require_migrated(engine: AsyncEngine) -> None:
    """Raises: InvalidSettings where the database cannot be reached or has not this release's shape."""
    try:
        missing = await differences(engine)
    except (OSError, DBAPIError) as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) in NOTHING_THERE:
            raise InvalidSettings(NOT_MIGRATED) from error
        raise InvalidSettings(
            f"DATABASE_URL: the database cannot be used: {type(error).__name__}"
        ) from error
    if missing:
        raise InvalidSettings(NOT_MIGRATED)


async def differences(engine: AsyncEngine) -> str:
    """What the tables in code have that the migrations do not make; empty where they agree."""

    def check(connection: Connection) -> str:
        connection.execute(MAY_TAKE_ITS_TIME)
        try:
            command.check(config(connection))
        except CommandError as error:
            return str(error)
        return ""

    async with engine.begin() as connection:
        return await connection.run_sync(check)
