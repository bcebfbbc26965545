"""Connections to the database, in a pool, and the statements on them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from shared.db.connecting import Connector, build_connector
from shared.db.direct import DirectConnection
from shared.db.errors import drop_connection_if_useless, translated_errors
from shared.db.parameters import number_parameters
from shared.db.settings import DatabaseSettings

Connection = AsyncConnection | DirectConnection
"""Of ``transaction`` or of ``autocommit``."""


def open_engine(settings: DatabaseSettings) -> AsyncEngine:
    connector = build_connector(settings)
    engine = create_async_engine(
        connector.url,
        async_creator=connector.connect,
        pool_size=settings.connections,
        max_overflow=0,
        pool_timeout=settings.pool_timeout.total_seconds(),
        pool_pre_ping=False,
        execution_options={"connector": connector},
    )
    event.listen(engine.sync_engine, "handle_error", drop_connection_if_useless)
    return engine


@asynccontextmanager
async def without_limits(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """An engine for the same database whose statements may take as long as they need, for
    migrations and other work on whole tables. Each connection is opened for its use.
    """
    patient = create_async_engine(
        engine.url, async_creator=_connector(engine).connect_without_limits, poolclass=NullPool
    )
    try:
        yield patient
    finally:
        await patient.dispose()


async def open_single_connection(engine: AsyncEngine) -> asyncpg.Connection:
    """A connection beside the pool, of the driver itself, with the engine's limits. The caller ends
    it.

    Raises: Transient.
    """
    with translated_errors():
        return await _connector(engine).connect()


def _connector(engine: AsyncEngine) -> Connector:
    connector: Connector = engine.get_execution_options()["connector"]
    return connector


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
    with translated_errors():
        async with engine.begin() as connection:
            yield connection


def autocommit(engine: AsyncEngine) -> DirectConnection:
    """Run statements that are each their own transaction, without the round trips of BEGIN and
    COMMIT, and without SQLAlchemy: by ``fetch_rows`` alone.

    Raises: Transient.
    """
    return DirectConnection(engine)


async def fetch_rows(connection: Connection, statement: str, **parameters: Any) -> Sequence[Any]:
    """Execute a statement and return all of its rows, whose columns are attributes; it may return
    none. ``:name`` in the statement is the parameter of that name.
    """
    numbered = number_parameters(statement)
    values = numbered.values(parameters)
    if isinstance(connection, DirectConnection):
        return await connection.fetch(numbered.text, values)
    result = await connection.exec_driver_sql(numbered.text, values)
    return result.fetchall() if result.returns_rows else ()
