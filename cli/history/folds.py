"""The sums that outlive rows: what has to be added to them before a partition leaves."""

from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

Fold = Callable[[AsyncConnection, str], Awaitable[None]]
"""Adds the rows of a partition, named with its schema, to the sums. It is called in the transaction
that drops the partition."""

NEED_FOLD = frozenset({"executor.trades"})
"""Tables whose rows are summed over all time: none of their partitions leaves without its fold."""

FOLDS: Mapping[str, Fold] = {}
