"""Tx-monitor's ports against PostgreSQL, and its feeds from and to chain nodes."""

from services.tx_monitor.adapters.cursors import SERVICE, PostgresFillCursors
from services.tx_monitor.adapters.fill_feed import FillFeed
from services.tx_monitor.adapters.nodes import ChainNodes, open_nodes
from services.tx_monitor.adapters.operator_keys import OperatorKeys, load_operator_keys
from services.tx_monitor.adapters.receipt_feed import (
    Finality,
    ReceiptFeed,
    build_receipt_seen,
    is_changed,
)
from services.tx_monitor.adapters.sender import Sender
from services.tx_monitor.adapters.transfers import PostgresTransfers
from services.tx_monitor.adapters.wallet_tools import Tools
from services.tx_monitor.adapters.watches import PostgresWatches

__all__ = [
    "SERVICE",
    "ChainNodes",
    "FillFeed",
    "Finality",
    "OperatorKeys",
    "PostgresFillCursors",
    "PostgresTransfers",
    "PostgresWatches",
    "ReceiptFeed",
    "Sender",
    "Tools",
    "build_receipt_seen",
    "is_changed",
    "load_operator_keys",
    "open_nodes",
]
