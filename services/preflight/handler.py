"""Look at the controls, the quote and the proxy's means; judge; record; say what stands."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments:
    """What a proxy's other copies take of its means. Micro-USDC and micro-shares."""

    usdc: int
    """Promised and not settled, or settled since the balance was read, so that it may not show in
    it."""
    shares: int
    """The same, of the intent's token."""
    spent_today: int
    """What approved copies of this UTC day count for in the cap."""


class Balances(Protocol):
    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        """From the cache, unless ``fresh``. Raises: Transient where the chain cannot be asked: an
        error is not a zero.
        """
        ...


class Verdicts(Protocol):
    async def load_commitments(
        self, intent: Intent, *, since: datetime, now: datetime
    ) -> Commitments:
        """Of the intent's proxy; ``since`` is when its balance was read. Raises: Transient."""
        ...

    async def record(self, verdict: Verdict) -> Verdict:
        """Keep the intent's first verdict and its reservation in one commit; return the verdict
        that stands.

        Raises: Transient where the cap was used up meanwhile by somebody else: judge again.
        """
        ...

    async def settle(self, report: OrderReported, *, now: datetime) -> None:
        """Give back what the finished order did not use; doing it again changes nothing. Raises:
        Transient.
        """
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
        """Our own word: it was recorded when it was said."""
        return []

    async def _judge(self, quoted: IntentQuoted) -> Verdict:
        case = self._case(quoted)
        if (refusal := refuse_early(case)) is not None:
            return refusal
        verdict, cached = await self._judge_means(case, fresh=False)
        if isinstance(verdict, IntentRefused) and cached:
            verdict, _ = await self._judge_means(case, fresh=True)
        return verdict

    async def _judge_means(self, case: PreflightFacts, *, fresh: bool) -> tuple[Verdict, bool]:
        """The verdict, and whether it rests on a cached balance: nobody is refused for an old one."""
        intent = case.quoted.intent
        balance = await self.balances.fetch_balance(
            intent, neg_risk=case.quote.neg_risk, fresh=fresh
        )
        commitments = await self.verdicts.load_commitments(
            intent, since=balance.fetched_at, now=case.now
        )
        return judge(replace(case, funds=_means(balance, commitments))), balance.cached

    def _case(self, quoted: IntentQuoted) -> PreflightFacts:
        controls, intent = self.controls.current(), quoted.intent
        return PreflightFacts(
            quoted=quoted,
            follow=controls.follow(leader=intent.leader, proxy=intent.proxy),
            mode=controls.mode(leader=intent.leader, proxy=intent.proxy),
            controls_version=controls.version,
            limits=self.limits,
            now=self.now(),
        )


def _means(balance: Balance, commitments: Commitments) -> Funds:
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
