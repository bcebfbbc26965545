"""Single statements through asyncpg itself, on the connections of an engine's pool.

SQLAlchemy takes five times as much CPU for a statement as the driver alone. Here it lends its
connections: they are opened, counted, waited for and replaced by the same pool as all others.
"""

from collections.abc import Sequence
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from shared.db.errors import Remedy, find_remedy, find_transient


class Row(asyncpg.Record):  # type: ignore[misc]
    """A row of a result; its columns are attributes.

    A name that was used once is a property from then on, which is read ten times as fast.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"the row has no column {name!r}") from None
        setattr(Row, name, property(itemgetter(name)))
        return value


class DirectConnection:
    """An async context manager: a connection of the pool, lent for statements that are each a
    transaction of their own.

    Raises: Transient, in the block too.
    """

    __slots__ = ("_lent", "driver", "engine")

    driver: asyncpg.Connection
    """Within the block."""
    _lent: PoolProxiedConnection

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def __aenter__(self) -> Self:
        try:
            self._lent = await self.engine.raw_connection()
        except Exception as error:
            if (transient := find_transient(error)) is not None:
                raise transient from error
            raise
        self.driver = self._lent.driver_connection
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(self.engine.pool, NullPool):
            await greenlet_spawn(self._lent.close)  # which says farewell to the database
        else:
            self._lent.close()  # nothing to wait for: no transaction is open
        if error is not None and (transient := find_transient(error)) is not None:
            raise transient from error

    async def fetch(self, statement: str, values: Sequence[Any]) -> Sequence[Row]:
        """Execute a statement, with ``$1`` for the first of the values, and return all of its rows.
        It is prepared at its first use on the connection; where a table has changed since, it is
        prepared again.
        """
        try:
            rows: Sequence[Row] = await self.driver.fetch(statement, *values, record_class=Row)
        except BaseException as error:
            self._drop_if_useless(error)
            raise
        return rows

    def _drop_if_useless(self, error: BaseException) -> None:
        """Have the connection, and all that the pool opened before, replaced where the error calls
        for it. One whose statement was cancelled is replaced alone: it may still be at work.
        """
        is_cancelled = not isinstance(error, Exception)
        if not is_cancelled and find_remedy(error) is not Remedy.RECONNECT:
            return
        # At once: a server that does not answer does not answer a farewell either.
        self.driver.terminate()
        if is_cancelled:
            self._lent.invalidate(error)
        else:
            self.engine.pool._invalidate(self._lent, error)
