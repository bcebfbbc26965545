"""The sums that outlive rows: what has to be added to them before a partition leaves."""

from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import tables
from shared.db.position_sums import fold_trades

Fold = Callable[[AsyncConnection, str], Awaitable[None]]
"""Adds the rows of a partition, named with its schema, to the sums. It is called in the transaction
that drops the partition."""

FOLDS: Mapping[str, Fold] = {tables.trades.fullname: fold_trades}
"""By table. Its rows leave with their partition alone, never row by row."""
