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
from shared.db.tables.executor import (
    api_keys,
    open_orders,
    order_states,
    orders,
    position_sums,
    trades,
)
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
    newest_copies,
    positions,
    reservation_sums,
    reservations,
    spending_windows,
    verdicts,
)
from shared.db.tables.tx_monitor import fill_cursors, open_watches, watches

__all__ = [
    "SCHEMAS",
    "api_keys",
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
    "fill_cursors",
    "fills",
    "follows",
    "intents",
    "leader_cursors",
    "leader_levels",
    "leases",
    "metadata",
    "modes",
    "newest_copies",
    "open_orders",
    "open_watches",
    "order_states",
    "orders",
    "partition_cursors",
    "position_sums",
    "positions",
    "reservation_sums",
    "reservations",
    "spending_windows",
    "trades",
    "verdicts",
    "versions",
    "watches",
]
