"""Handler of preflight: gather the facts, judge, record the verdict, publish the recorded one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from services.preflight.decisions import Funds, Limits, PreflightFacts, Verdict, judge, refuse_early
from shared.domain.follows import Controls
from shared.messages.base import Message
from shared.messages.intents import Intent, IntentQuoted, IntentRefused
from shared.messages.orders import FINAL_STATES, OrderReported


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a proxy has on the chain, as far as the intent needs it. Micro-USDC and micro-shares."""

    usdc: int
    allowance: int
    shares: int
    shares_approved: bool
    fetched_at: datetime
    cached: bool
    """Whether it comes from the cache, and not from a request of this call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments:
    """What a proxy's other copies take of its funds. Micro-USDC and micro-shares."""

    usdc: int
    """Reserved by copies that are not settled, or were settled after the balance was read: the
    balance may not show them."""
    shares: int
    """The same, of the intent's token."""
    spent_today: int
    """What approved copies of this UTC day take of the daily cap."""


class Balances(Protocol):
    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        """Return the balance, from the cache unless ``fresh``.

        Raises: Transient where the chain cannot be read: an error is not a zero.
        """
        ...


class Verdicts(Protocol):
    async def load_commitments(
        self, intent: Intent, *, since: datetime, now: datetime
    ) -> Commitments:
        """Load those of the intent's proxy; ``since``: when its balance was read.

        Raises: Transient.
        """
        ...

    async def record(self, verdict: Verdict) -> Verdict:
        """Record the intent's first verdict and its reservation in one commit; return the recorded
        verdict, which is an earlier one after a redelivery.

        Raises: Transient, also where another process used up the cap meanwhile: judge again.
        """
        ...

    async def settle(self, report: OrderReported, *, now: datetime) -> None:
        """Release what the finished order did not use. Idempotent. Raises: Transient."""
        ...


class ControlsReader(Protocol):
    def current(self) -> Controls:
        """Raises: Transient where the controls are not confirmed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    controls: ControlsReader
    balances: Balances
    verdicts: Verdicts
    limits: Limits
    now: Callable[[], datetime]

    async def on_intent_quoted(self, quoted: IntentQuoted) -> Sequence[Message]:
        return [await self.verdicts.record(await self._judge(quoted))]

    async def on_order_reported(self, report: OrderReported) -> Sequence[Message]:
        if report.state in FINAL_STATES:
            await self.verdicts.settle(report, now=self.now())
        return []

    async def on_intent_refused(self, _: IntentRefused) -> Sequence[Message]:
        """Ignore preflight's own message: it was recorded before it was published."""
        return []

    async def _judge(self, quoted: IntentQuoted) -> Verdict:
        facts = self._build_facts(quoted)
        if (refusal := refuse_early(facts)) is not None:
            return refusal
        verdict, cached = await self._judge_funds(facts, fresh=False)
        if isinstance(verdict, IntentRefused) and cached:  # a refusal never rests on a cached one
            verdict, _ = await self._judge_funds(facts, fresh=True)
        return verdict

    async def _judge_funds(self, facts: PreflightFacts, *, fresh: bool) -> tuple[Verdict, bool]:
        """Return the verdict, and whether the balance that it rests on came from the cache."""
        intent = facts.quoted.intent
        balance = await self.balances.fetch_balance(
            intent, neg_risk=facts.quote.neg_risk, fresh=fresh
        )
        commitments = await self.verdicts.load_commitments(
            intent, since=balance.fetched_at, now=facts.now
        )
        return judge(replace(facts, funds=_build_funds(balance, commitments))), balance.cached

    def _build_facts(self, quoted: IntentQuoted) -> PreflightFacts:
        controls, intent = self.controls.current(), quoted.intent
        return PreflightFacts(
            quoted=quoted,
            follow=controls.follow(leader=intent.leader, proxy=intent.proxy),
            mode=controls.mode(leader=intent.leader, proxy=intent.proxy),
            controls_version=controls.version,
            limits=self.limits,
            now=self.now(),
        )


def _build_funds(balance: Balance, commitments: Commitments) -> Funds:
    return Funds(
        usdc=balance.usdc,
        allowance=balance.allowance,
        shares=balance.shares,
        shares_approved=balance.shares_approved,
        fetched_at=balance.fetched_at,
        reserved_usdc=commitments.usdc,
        reserved_shares=commitments.shares,
        spent_today=commitments.spent_today,
    )
