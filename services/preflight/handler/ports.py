"""What the handler of preflight needs from outside."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from services.preflight.decisions import (
    Balance,
    Commitments,
    DelayedEntry,
    Exit,
    FollowPosition,
    Limits,
    OtherEntries,
    Verdict,
)
from shared.domain.follows import Controls
from shared.messages.intents import Intent, IntentRefused
from shared.messages.orders import OrderReported


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentsQuery:
    """Of which intent the commitments are loaded."""

    intent: Intent
    limits: Limits
    """What is limited is loaded."""
    since: datetime
    """When the balance of the intent's proxy was read."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A verdict, and what is recorded in the same commit, as by ``Verdicts.record``."""

    verdict: Verdict
    exit: Exit | None = None
    let_go: Sequence[IntentRefused] = ()
    traceparent: str | None = None
    """The trace of the verdict's intent; None: it has none."""

    @property
    def traced_exit(self) -> Exit | None:
        """The exit with the trace of its first attempt, which the later ones continue."""
        if self.exit is None or self.exit.traceparent:
            return self.exit
        return replace(self.exit, traceparent=self.traceparent)


class Balances(Protocol):
    def cached_balance(self, intent: Intent, *, neg_risk: bool) -> Balance | None:
        """Return the balance that need not be requested; None: the cache has none that is new
        enough, or not of the intent's token. It counts in no metric.
        """
        ...

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        """Return the balance, from the cache unless ``fresh``.

        Raises: Transient where the chain cannot be read: an error is not a zero.
        """
        ...


class Verdicts(Protocol):
    async def load_commitments(
        self, intent: Intent, *, limits: Limits, since: datetime, now: datetime
    ) -> Commitments:
        """Load those of the intent's proxy, of what is limited; ``since``: when its balance was
        read. What is limited is counted again by ``record``.

        Raises: Transient.
        """
        ...

    async def load_all_commitments(
        self, queries: Sequence[CommitmentsQuery]
    ) -> Sequence[Commitments]:
        """The same of many intents at once, in their order. Raises: Transient."""
        ...

    async def load_position(self, intent: Intent) -> FollowPosition:
        """What is recorded of the follow and token of an exit's intent. Raises: Transient."""
        ...

    async def load_positions(self, intents: Sequence[Intent]) -> Sequence[FollowPosition]:
        """The same of many intents at once, in their order. Raises: Transient."""
        ...

    async def record(
        self, verdict: Verdict, exit_: Exit | None = None, *, let_go: Sequence[IntentRefused] = ()
    ) -> Verdict:
        """Record the intent's first verdict, its reservation and the exit that it is an attempt of
        in one commit; return the recorded verdict, which is an earlier one after a redelivery: then
        nothing of it is changed. ``exit_``: None for an entry, and where there is nothing to sell.
        ``let_go``: verdicts about delayed entries, recorded in the same commit; each is due at
        once, so that its verdict is published.

        Raises: Transient, also where another copy used up a limit, or an entry to be let go was
        approved meanwhile: judge again.
        """
        ...

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[Verdict]:
        """The same of many intents in one commit, in their order.

        Raises: Transient as ``record``, where one of them cannot be recorded; then none is.
        """
        ...

    async def load_other_entries(self, intent: Intent, *, now: datetime) -> OtherEntries:
        """What counts against the rate of the intent's proxy beside it. Raises: Transient."""
        ...

    async def delay(self, entry: DelayedEntry) -> Verdict | None:
        """Record that the entry is judged again at its time, also where it was delayed before;
        return None. Where its verdict is recorded already, it is returned and not delayed any more.

        Raises: Transient.
        """
        ...

    async def delay_all(self, entries: Sequence[DelayedEntry]) -> Sequence[Verdict | None]:
        """The same of many entries in one commit, in their order, each with its trace. Raises:
        Transient.
        """
        ...

    async def load_exit(self, intent_id: str) -> Exit | None:
        """The exit that the intent is an attempt of; None: it is an entry. Raises: Transient."""
        ...

    async def settle(
        self, report: OrderReported, exit_: Exit | None = None, *, now: datetime
    ) -> None:
        """Release what the finished order did not use, add what it filled to the follow's position
        and record the exit. The first time only. Raises: Transient.
        """
        ...


class ControlsReader(Protocol):
    def current(self) -> Controls:
        """Raises: Transient where the controls are not confirmed."""
        ...
