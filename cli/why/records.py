"""The values that `slipstream why` shows, as the services have recorded them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.messages.intents import Intent, IntentApproved, IntentRefused

Verdict = IntentApproved | IntentRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One intent: an entry, or one attempt of an exit."""

    row: Any
    """Of ``preflight.intents``."""
    verdict: Verdict
    order: Any | None = None
    """Of ``executor.orders_with_states``, without the signed bytes. None: none is recorded."""
    trades: Sequence[Any] = ()
    """Of ``executor.trades``."""

    @property
    def intent(self) -> Intent:
        return self.verdict.intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of one slice of a leader's trade for one follower."""

    attempts: Sequence[Attempt]
    """The only one of an entry; all of an exit, the oldest first."""
    chosen: Attempt
    """The attempt that was asked for, else the last one."""
    exit: Any | None = None
    """Of ``preflight.exits``. None: it is an entry, or there was nothing to sell."""
    fills: Sequence[Any] = ()
    """Of ``ingest.fills``: the rows of the leader's trade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UncopiedTrade:
    """A transaction of a leader's that a feed reported, and of which no verdict is recorded."""

    transaction_hash: str
    fills: Sequence[Any]
    slices: Sequence[Any]
    """Of ``ingest.copy_slices``, with ``resent_transaction``: the one that was copied instead."""
    controls_version: int
    """That the newest slice was sized by; without slices, the newest."""
    followers: Sequence[str]
    """Those that followed the leaders of the transaction at that version."""


Answer = Sequence[Copy] | UncopiedTrade
