"""The decisions of preflight: the verdict about a copy, and how an exit goes on after it."""

from services.preflight.decisions.checks import (
    Verdict,
    judge,
    refuse_early,
    reserved_usdc,
)
from services.preflight.decisions.delays import (
    DelayedEntry,
    OtherEntries,
    delay_entry,
    is_over_rate,
    let_go,
)
from services.preflight.decisions.exits import (
    Exit,
    ExitState,
    FollowPosition,
    RecordedLevel,
    after_order,
    after_verdict,
    build_continuation,
    open_exit,
)
from services.preflight.decisions.facts import (
    ENTRIES_WINDOW,
    Funds,
    Limits,
    PreflightFacts,
    expires_at,
    max_fee,
)

__all__ = [
    "ENTRIES_WINDOW",
    "DelayedEntry",
    "Exit",
    "ExitState",
    "FollowPosition",
    "Funds",
    "Limits",
    "OtherEntries",
    "PreflightFacts",
    "RecordedLevel",
    "Verdict",
    "after_order",
    "after_verdict",
    "build_continuation",
    "delay_entry",
    "expires_at",
    "is_over_rate",
    "judge",
    "let_go",
    "max_fee",
    "open_exit",
    "refuse_early",
    "reserved_usdc",
]
