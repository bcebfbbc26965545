"""Every metric of the services: each is declared here once and has one function that records it.

``docs/metrics.md`` is written from these declarations by ``python -m tools.docs``.
"""

from collections.abc import Iterator

from shared.observe.instruments import (
    REGISTRY,
    Declaration,
    Metric,
    serve_process_figures,
)
from shared.observe.labels import (
    AmbiguousTrade,
    Cache,
    CacheResult,
    CarriedAmount,
    CopyStart,
    Delay,
    Eviction,
    ExitEnd,
    Feed,
    FrameKind,
    MessageOutcome,
    OrderReply,
    ParkedReason,
    SettledFills,
    Stage,
    Tip,
)
from shared.observe.metrics import copies, services
from shared.observe.metrics.copies import (
    amount_carried,
    copy_by_level,
    copy_refused,
    copy_state_reached,
    debts_outstanding,
    entry_delayed,
    equities_unknown,
    exit_ended,
    fills_blocks_behind,
    fills_settled,
    gates_closed,
    levels_lower,
    order_posted,
    orders_alerted,
    orders_unknown,
    quoted,
    stage_reached,
    trade_ambiguous,
    trade_copied,
    trades_unsettled,
    transaction_state_reached,
)
from shared.observe.metrics.services import (
    api_keys_missing,
    blocked_keys,
    book_unusable,
    build_info,
    cache_evicted,
    cache_requested,
    controls_version,
    feed_frame,
    feed_silent,
    message_handled,
    message_parked,
    message_redriven,
    message_retried,
    messages_unfinished,
    venue_limit_reached,
    venue_requests_waiting,
)

__all__ = [
    "REGISTRY",
    "AmbiguousTrade",
    "Cache",
    "CacheResult",
    "CarriedAmount",
    "CopyStart",
    "Delay",
    "Eviction",
    "ExitEnd",
    "Feed",
    "FrameKind",
    "MessageOutcome",
    "OrderReply",
    "ParkedReason",
    "SettledFills",
    "Stage",
    "Tip",
    "amount_carried",
    "api_keys_missing",
    "blocked_keys",
    "book_unusable",
    "build_info",
    "cache_evicted",
    "cache_requested",
    "controls_version",
    "copy_by_level",
    "copy_refused",
    "copy_state_reached",
    "debts_outstanding",
    "declarations",
    "entry_delayed",
    "equities_unknown",
    "exit_ended",
    "feed_frame",
    "feed_silent",
    "fills_blocks_behind",
    "fills_settled",
    "gates_closed",
    "levels_lower",
    "message_handled",
    "message_parked",
    "message_redriven",
    "message_retried",
    "messages_unfinished",
    "order_posted",
    "orders_alerted",
    "orders_unknown",
    "quoted",
    "serve_process_figures",
    "stage_reached",
    "trade_ambiguous",
    "trade_copied",
    "trades_unsettled",
    "transaction_state_reached",
    "venue_limit_reached",
    "venue_requests_waiting",
]


def declarations() -> Iterator[Declaration]:
    """Every metric, in the order of the two files."""
    return (
        value.declaration
        for module in (services, copies)
        for value in vars(module).values()
        if isinstance(value, Metric)
    )
