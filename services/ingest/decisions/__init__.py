"""Ingest's decisions: which part of a leader's trade is new, and which intents copy it. Pure."""

from services.ingest.decisions.carrying import CopySize, Lot, SizeState, sum_lots
from services.ingest.decisions.copied_parts import CopiedPart, find_copied_parts
from services.ingest.decisions.holdings import (
    OtherTrade,
    needs_holdings,
    select_earlier_trades,
    sum_missing_changes,
    with_held_shares,
)
from services.ingest.decisions.intents import Complement, build_intents
from services.ingest.decisions.reconciliation import (
    Reconciliation,
    RepeatedRows,
    find_new_slices,
    has_waited,
    is_confirmed_and_not_copied,
    merge_slices,
    reconcile,
)
from services.ingest.decisions.sizing import (
    RecordedSizes,
    Sizes,
    SizingFacts,
    size_copies,
)
from services.ingest.decisions.trades import (
    CLOCK_TOLERANCE,
    RESENT_WITHIN,
    CopySlice,
    FillRow,
    PriceRange,
    RowKey,
    ShareRange,
    Trade,
    TradeContext,
    best_source_total,
    find_earlier_slices,
    list_prices,
    row_key,
)

__all__ = [
    "CLOCK_TOLERANCE",
    "RESENT_WITHIN",
    "Complement",
    "CopiedPart",
    "CopySize",
    "CopySlice",
    "FillRow",
    "Lot",
    "OtherTrade",
    "PriceRange",
    "Reconciliation",
    "RecordedSizes",
    "RepeatedRows",
    "RowKey",
    "ShareRange",
    "SizeState",
    "Sizes",
    "SizingFacts",
    "Trade",
    "TradeContext",
    "best_source_total",
    "build_intents",
    "find_copied_parts",
    "find_earlier_slices",
    "find_new_slices",
    "has_waited",
    "is_confirmed_and_not_copied",
    "list_prices",
    "merge_slices",
    "needs_holdings",
    "reconcile",
    "row_key",
    "select_earlier_trades",
    "size_copies",
    "sum_lots",
    "sum_missing_changes",
    "with_held_shares",
]
