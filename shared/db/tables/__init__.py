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
from shared.db.tables.ingest import copy_sizes, copy_slices, cursors, equities, fills
from shared.db.tables.preflight import exits, intents, positions, spending
from shared.db.tables.tx_monitor import watches

__all__ = [
    "ORDER_IS_OPEN",
    "SCHEMAS",
    "copy_sizes",
    "copy_slices",
    "cursors",
    "dead_letter_decisions",
    "dead_letters",
    "debts",
    "equities",
    "exits",
    "fills",
    "follows",
    "intents",
    "leases",
    "metadata",
    "modes",
    "orders",
    "positions",
    "spending",
    "trades",
    "versions",
    "watches",
]
