"""Ingest's decisions: which part of a leader's trade is new, and which intents copy it. Pure."""

from services.ingest.decisions.reconciliation import (
    Reconciliation,
    is_confirmed_and_not_copied,
    reconcile,
)
from services.ingest.decisions.sizing import build_intents
from services.ingest.decisions.trades import (
    CLOCK_TOLERANCE,
    CONFIRMING_SOURCES,
    RESENT_WITHIN,
    CopySlice,
    FillRow,
    RowKey,
    ShareRange,
    Trade,
    TradeContext,
    best_source_total,
    row_key,
)

__all__ = [
    "CLOCK_TOLERANCE",
    "CONFIRMING_SOURCES",
    "RESENT_WITHIN",
    "CopySlice",
    "FillRow",
    "Reconciliation",
    "RowKey",
    "ShareRange",
    "Trade",
    "TradeContext",
    "best_source_total",
    "build_intents",
    "is_confirmed_and_not_copied",
    "reconcile",
    "row_key",
]
