"""The decisions of preflight: the verdict about a copy, and how an exit goes on after it."""

from services.preflight.decisions.checks import (
    Verdict,
    judge,
    judge_on_funds,
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
    is_about_size,
    open_exit,
)
from services.preflight.decisions.facts import (
    ENTRIES_WINDOW,
    Balance,
    Commitments,
    Funds,
    Limits,
    PreflightFacts,
    build_funds,
    expires_at,
    max_fee,
)

__all__ = [
    "ENTRIES_WINDOW",
    "Balance",
    "Commitments",
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
    "build_funds",
    "delay_entry",
    "expires_at",
    "is_about_size",
    "is_over_rate",
    "judge",
    "judge_on_funds",
    "let_go",
    "max_fee",
    "open_exit",
    "refuse_early",
    "reserved_usdc",
]
