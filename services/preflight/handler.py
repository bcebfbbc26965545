"""Handler of preflight: gather the facts, judge, record the verdict, publish the recorded one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from services.preflight.decisions import (
    DelayedEntry,
    Exit,
    FollowPosition,
    Funds,
    Limits,
    OtherEntries,
    PreflightFacts,
    Verdict,
    after_order,
    after_verdict,
    delay_entry,
    expires_at,
    is_over_rate,
    judge,
    let_go,
    open_exit,
    refuse_early,
)
from shared.domain.errors import Transient
from shared.domain.follows import Controls
from shared.domain.money import Side
from shared.domain.terms import EntryMode, ExitMode
from shared.messages.base import Message
from shared.messages.intents import Intent, IntentQuoted, IntentRefused
from shared.messages.orders import FINAL_STATES, OrderReported

MAX_JUDGEMENT = timedelta(minutes=1)
"""How long a judgement may take until it knows what is reserved. What was settled much earlier than
its balance was read is not counted any more: a judgement that takes longer begins again."""


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
    """What a proxy's other copies take of its funds. Micro-USDC."""

    usdc: int
    """Reserved by copies that are not settled, or were settled after the balance was read: the
    balance may not show them."""
    spent_today: int
    """What the follow's approved copies of the last 24 hours take of its daily cap."""
    follower_spent_today: int
    """The same, of all follows of the proxy."""
    market_spent_today: int | None = None
    """The same, of all followers in the token; None: not capped, or an exit."""
    global_spent_today: int | None = None
    """The same, of all followers; None: not capped, or an exit."""
    open_tokens: frozenset[str] | None = None
    """Tokens that the follower holds by his copies or is buying; None: not limited, or an exit."""
    recent_entries: int | None = None
    """The follower's approved entries of the last minute, and those that were delayed before this
    one; None: not limited, or an exit."""


class Balances(Protocol):
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

    async def load_position(self, intent: Intent) -> FollowPosition:
        """What is recorded of the follow and token of an exit's intent. Raises: Transient."""
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

    async def load_other_entries(self, intent: Intent, *, now: datetime) -> OtherEntries:
        """What counts against the rate of the intent's proxy beside it. Raises: Transient."""
        ...

    async def delay(self, entry: DelayedEntry) -> Verdict | None:
        """Record that the entry is judged again at its time, also where it was delayed before;
        return None. Where its verdict is recorded already, it is returned and not delayed any more.

        Raises: Transient.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    controls: ControlsReader
    balances: Balances
    verdicts: Verdicts
    limits: Limits
    retry_delay: timedelta
    """An exit is attempted again after it, or later: the waits grow with the exit's age."""
    now: Callable[[], datetime]

    async def on_intent_quoted(self, quoted: IntentQuoted) -> Sequence[Message]:
        facts = await self._load_facts(quoted)
        verdict = refuse_early(facts) or await self._judge_on_funds(facts)
        if is_over_rate(verdict) and (delayed := await self._delay(facts)) is not None:
            recorded = await self.verdicts.delay(delayed)
            return [recorded] if recorded is not None else []
        exit_ = self._exit_after(facts.exit, verdict)
        return [await self.verdicts.record(verdict, exit_, let_go=let_go(facts))]

    async def on_order_reported(self, report: OrderReported) -> Sequence[Message]:
        if report.state in FINAL_STATES:
            now = self.now()
            exit_ = (
                await self.verdicts.load_exit(report.intent_id)
                if report.side is Side.SELL
                else None
            )
            after = exit_ and after_order(exit_, report, now=now, retry_delay=self.retry_delay)
            await self.verdicts.settle(report, after, now=now)
        return []

    async def on_intent_refused(self, _: IntentRefused) -> Sequence[Message]:
        """Ignore preflight's own message: it was recorded before it was published."""
        return []

    async def _delay(self, facts: PreflightFacts) -> DelayedEntry | None:
        intent, now = facts.quoted.intent, facts.now
        others = await self.verdicts.load_other_entries(intent, now=now)
        return delay_entry(intent, others, limits=self.limits, now=now)

    def _exit_after(self, exit_: Exit | None, verdict: Verdict) -> Exit | None:
        """The exit to record; none where the follow holds nothing, as most followers of a leader
        who sells something old.
        """
        if exit_ is None or exit_.has_nothing_to_sell:
            return None
        return after_verdict(exit_, verdict, retry_delay=self.retry_delay)

    async def _judge_on_funds(self, facts: PreflightFacts) -> Verdict:
        verdict, cached = await self._judge_on_balance(facts, fresh=False)
        if isinstance(verdict, IntentRefused) and cached:  # a refusal never rests on a cached one
            verdict, _ = await self._judge_on_balance(facts, fresh=True)
        return verdict

    async def _judge_on_balance(
        self, facts: PreflightFacts, *, fresh: bool
    ) -> tuple[Verdict, bool]:
        """Return the verdict, and whether the balance that it rests on came from the cache."""
        intent = facts.quoted.intent
        balance = await self.balances.fetch_balance(
            intent, neg_risk=facts.quote.neg_risk, fresh=fresh
        )
        commitments = await self.verdicts.load_commitments(
            intent, limits=self.limits, since=balance.fetched_at, now=facts.now
        )
        if self.now() - facts.now > MAX_JUDGEMENT:
            raise Transient(
                f"the balance or the reservations of {intent.proxy} took too long to be read: "
                f"intent {intent.intent_id} has to be judged again"
            )
        return judge(replace(facts, funds=_build_funds(balance, commitments))), balance.cached

    async def _load_facts(self, quoted: IntentQuoted) -> PreflightFacts:
        facts = self._build_facts(quoted)
        if facts.side is Side.BUY:
            return await self._load_level(facts)
        intent = quoted.intent
        position = await self._load_position(intent)
        exit_ = open_exit(
            intent,
            position,
            mode=facts.follow.exits if facts.follow is not None else ExitMode.PROPORTIONAL,
            expires_at=expires_at(intent, self.limits),
        )
        return replace(facts, position=position, exit=exit_)

    async def _load_level(self, facts: PreflightFacts) -> PreflightFacts:
        """With what a mirrored leader's level has been copied to; the others have none."""
        if facts.follow is None or facts.follow.entries is not EntryMode.MIRROR:
            return facts
        position = await self.verdicts.load_position(facts.quoted.intent)
        return replace(facts, position=position)

    async def _load_position(self, intent: Intent) -> FollowPosition:
        position = await self.verdicts.load_position(intent)
        if not self.limits.sell_own_shares:
            return position
        balance = await self.balances.fetch_balance(intent, neg_risk=False, fresh=False)
        own = max(0, balance.shares - position.held_by_all_follows)
        return replace(position, own_shares=own)

    def _build_facts(self, quoted: IntentQuoted) -> PreflightFacts:
        controls, intent = self.controls.current(), quoted.intent
        return PreflightFacts(
            quoted=quoted,
            follow=controls.follow(leader=intent.leader, proxy=intent.proxy, side=intent.side),
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
        spent_today=commitments.spent_today,
        follower_spent_today=commitments.follower_spent_today,
        market_spent_today=commitments.market_spent_today,
        global_spent_today=commitments.global_spent_today,
        open_tokens=commitments.open_tokens,
        recent_entries=commitments.recent_entries,
    )
