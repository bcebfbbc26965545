"""Rows of results, as ``shared.db.engine.fetch_rows`` returns them."""

from operator import itemgetter
from typing import Any, Protocol

import asyncpg


class Row(Protocol):
    """A row of either kind of connection: its columns are attributes."""

    def __getattr__(self, name: str) -> Any: ...


class DirectRow(asyncpg.Record):  # type: ignore[misc]
    """A row that asyncpg returned.

    A name that was read once is a property from then on, which is read ten times as fast. Raises:
    AttributeError, and for such a name KeyError, where the row has no such column.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"the row has no column {name!r}") from None
        setattr(DirectRow, name, property(itemgetter(name)))
        return value
