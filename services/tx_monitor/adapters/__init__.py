"""Tx-monitor's ports against PostgreSQL, and its feeds from a chain node."""

from services.tx_monitor.adapters.cursors import SERVICE, PostgresFillCursors
from services.tx_monitor.adapters.fill_feed import FillFeed
from services.tx_monitor.adapters.receipt_feed import (
    Finality,
    ReceiptFeed,
    build_receipt_seen,
    is_changed,
)
from services.tx_monitor.adapters.watches import PostgresWatches

__all__ = [
    "SERVICE",
    "FillFeed",
    "Finality",
    "PostgresFillCursors",
    "PostgresWatches",
    "ReceiptFeed",
    "build_receipt_seen",
    "is_changed",
]
