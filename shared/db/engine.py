"""How a process reaches the database, and what its failures mean to a message."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.engine import Row
from sqlalchemy.engine.url import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient

RETRYABLE_STATES = ("08", "25P03", "40", "53", "57")
"""SQLSTATE classes that say "not now": connection, serialization and deadlock, resources, operator
intervention (shutdown, restart). And 25P03: we stood still in a transaction for so long that it was
ended."""


def open_engine(settings: DatabaseSettings) -> AsyncEngine:
    url = make_url(str(settings.url)).set(drivername="postgresql+asyncpg")
    limits = {
        "idle_in_transaction_session_timeout": str(
            settings.longest_pause // timedelta(milliseconds=1)
        )
    }
    return create_async_engine(
        url,
        pool_size=settings.connections,
        max_overflow=0,
        pool_pre_ping=False,
        connect_args={"server_settings": limits},
    )


@asynccontextmanager
async def engine_scope(settings: DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    """An engine for the life of a process."""
    engine = open_engine(settings)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction. Raises: Transient where the database could not be reached or asked to come
    back later.
    """
    with _failures():
        async with engine.begin() as connection:
            yield connection


@asynccontextmanager
async def autocommit(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """For one statement, which is a transaction by itself: without the round trips that begin and
    commit one. Raises: Transient.
    """
    with _failures():
        async with (
            engine.connect() as connection
        ):  # options of the engine would make a new one each time, for a quarter of the CPU
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError, PoolTimeout) as error:
        raise Transient(f"the database cannot be reached: {type(error).__name__}") from error
    except DBAPIError as error:
        if not _retryable(error):
            raise
        raise Transient(
            f"the database asks to come back later: {type(error.orig).__name__}"
        ) from error


async def fetch_rows(
    connection: AsyncConnection, statement: str, **given: Any
) -> Sequence[Row[Any]]:
    return (await connection.execute(_parsed(statement), given)).fetchall()


@lru_cache(maxsize=256)
def _parsed(statement: str) -> TextClause:
    """Finding the parameters of a long statement takes a tenth of a millisecond, each time."""
    return text(statement)


def _retryable(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return str(state).startswith(RETRYABLE_STATES)
