"""What waits for a lock in the database."""

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import fetch_rows, transaction

WAITING = "select count(*) as n from pg_locks where not granted"


async def is_anything_waiting(engine: AsyncEngine) -> bool:
    """Whether any statement of the server waits for a lock."""
    async with transaction(engine) as connection:
        (row,) = await fetch_rows(connection, WAITING)
    return bool(row.n)
