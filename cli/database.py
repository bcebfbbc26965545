"""`slipstream db migrate`: bring the database to this release's schema."""

import asyncio

import typer
from sqlalchemy.exc import DBAPIError

from cli.errors import CommandError
from shared.db import migrate as migrations
from shared.db.engine import engine_scope
from shared.db.settings import DatabaseSettings


def migrate(settings: DatabaseSettings) -> None:
    """Raises: CommandError where the database cannot be reached."""
    try:
        asyncio.run(_migrate(settings))
    except (OSError, DBAPIError) as error:
        raise CommandError(
            f"DATABASE_URL: the database cannot be used: {type(error).__name__}"
        ) from None
    typer.echo("The database has this release's tables.")


async def _migrate(settings: DatabaseSettings) -> None:
    async with engine_scope(settings) as engine:
        await migrations.migrate(engine)
