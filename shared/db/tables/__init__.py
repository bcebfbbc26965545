"""Declares every table. Amounts are base units, addresses checksummed text, times with zone."""

from shared.db.tables.base import SCHEMAS, metadata
from shared.db.tables.control import (
    dead_letter_decisions,
    dead_letters,
    follows,
    leases,
    modes,
    versions,
)
from shared.db.tables.debt_recovery import debts
from shared.db.tables.executor import ORDER_IS_OPEN, orders, trades
from shared.db.tables.ingest import (
    complements,
    copy_sizes,
    copy_slices,
    cursors,
    equities,
    fills,
    leader_cursors,
    partition_cursors,
)
from shared.db.tables.preflight import (
    delayed_entries,
    exits,
    intents,
    leader_levels,
    positions,
    spending_windows,
)
from shared.db.tables.tx_monitor import watches

__all__ = [
    "ORDER_IS_OPEN",
    "SCHEMAS",
    "complements",
    "copy_sizes",
    "copy_slices",
    "cursors",
    "dead_letter_decisions",
    "dead_letters",
    "debts",
    "delayed_entries",
    "equities",
    "exits",
    "fills",
    "follows",
    "intents",
    "leader_cursors",
    "leader_levels",
    "leases",
    "metadata",
    "modes",
    "orders",
    "partition_cursors",
    "positions",
    "spending_windows",
    "trades",
    "versions",
    "watches",
]
