"""Connections to the database, and the translation of its errors."""

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

RETRYABLE_SQLSTATES = ("08", "25P03", "40", "53", "57")
"""SQLSTATE classes of errors that are worth a retry: connection, serialization and deadlock,
resources, operator intervention (shutdown, restart). And 25P03: the transaction was idle for so
long that the database ended it."""


def open_engine(settings: DatabaseSettings) -> AsyncEngine:
    url = make_url(str(settings.url)).set(drivername="postgresql+asyncpg")
    limits = {
        "idle_in_transaction_session_timeout": str(
            settings.idle_in_transaction_timeout // timedelta(milliseconds=1)
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
    """Open an engine, and dispose of it at the end."""
    engine = open_engine(settings)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Run one transaction.

    Raises: Transient where the database cannot be reached or reports a retryable error.
    """
    with _translate_errors():
        async with engine.begin() as connection:
            yield connection


@asynccontextmanager
async def autocommit(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Run one statement as its own transaction, without the round trips of BEGIN and COMMIT.

    Raises: Transient.
    """
    with _translate_errors():
        async with engine.connect() as connection:
            # Engine.execution_options would create an engine each time, at a quarter of the CPU.
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError, PoolTimeout) as error:
        raise Transient(f"the database cannot be reached: {type(error).__name__}") from error
    except DBAPIError as error:
        if not _is_retryable(error):
            raise
        raise Transient(
            f"the database reports a temporary error: {type(error.orig).__name__}"
        ) from error


async def fetch_rows(
    connection: AsyncConnection, statement: str, **parameters: Any
) -> Sequence[Row[Any]]:
    """Execute a statement that returns rows, and return all of them."""
    return (await connection.execute(_parse_statement(statement), parameters)).fetchall()


@lru_cache(maxsize=256)
def _parse_statement(statement: str) -> TextClause:
    """Parse a statement once: finding its parameters takes 0.1 ms for a long one."""
    return text(statement)


def _is_retryable(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return str(state).startswith(RETRYABLE_SQLSTATES)
