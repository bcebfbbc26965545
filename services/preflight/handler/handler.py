"""Handler of preflight: gather the facts, judge, record the verdict, publish the recorded one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.preflight.decisions import (
    Balance,
    DelayedEntry,
    Exit,
    FollowPosition,
    Limits,
    PreflightFacts,
    Verdict,
    after_order,
    after_verdict,
    build_funds,
    delay_entry,
    expires_at,
    is_about_size,
    is_over_rate,
    judge_on_funds,
    let_go,
    open_exit,
    quote_again,
    refuse_early,
)
from services.preflight.handler.ports import (
    Balances,
    CommitmentsQuery,
    ControlsReader,
    Recording,
    Verdicts,
)
from shared.domain.errors import Transient
from shared.domain.money import Side
from shared.domain.terms import EntryMode, ExitMode
from shared.messages.base import Message
from shared.messages.intents import IntentApproved, IntentQuoted, IntentRefused
from shared.messages.orders import FINAL_STATES, OrderReported
from shared.observe import metrics
from shared.streams.routes import Outcome, Received

MAX_JUDGEMENT = timedelta(minutes=1)
"""How long a judgement may take until it knows what is reserved. What was settled much earlier than
its balance was read is not counted any more: a judgement that takes longer begins again."""


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
        if (delayed := await self._delay(facts, verdict)) is not None:
            return _publish(await self.verdicts.delay(delayed))
        exit_ = self._exit_after(facts.exit, verdict)
        return [await self.verdicts.record(verdict, exit_, let_go=let_go(facts))]

    async def on_intents_quoted(self, batch: Sequence[Received[IntentQuoted]]) -> Sequence[Outcome]:
        """Judge what needs neither a request, nor room in a rate, nor a second look: in one
        statement for each kind of facts and one for all verdicts. The others are judged alone.

        No two of a batch are of the same proxy. What several of them share, as a cap, is counted
        when they are recorded: where it is used up, none is, and each is judged alone.
        """
        facts = await self._load_all_facts([each.message for each in batch])
        verdicts = await self._judge_all(facts)
        delays = [
            _quote_again(received, known, verdict)
            for received, known, verdict in zip(batch, facts, verdicts, strict=True)
        ]
        recordings = [
            Recording(
                verdict=verdict,
                exit=self._exit_after(known.exit, verdict),
                let_go=let_go(known),
                traceparent=received.traceparent,
            )
            for received, known, verdict, delay in zip(batch, facts, verdicts, delays, strict=True)
            if known is not None and verdict is not None and delay is None
        ]
        recorded = iter(await self.verdicts.record_all(recordings) if recordings else ())
        entries = [each for each in delays if each is not None]
        delayed = iter(await self.verdicts.delay_all(entries) if entries else ())
        for known, verdict in zip(facts, verdicts, strict=True):
            if known is not None and verdict is not None:
                self._count_cached_balances(known, verdict)
        return [
            None if verdict is None else _publish(next(delayed if delay else recorded))
            for verdict, delay in zip(verdicts, delays, strict=True)
        ]

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

    async def on_orders_reported(
        self, batch: Sequence[Received[OrderReported]]
    ) -> Sequence[Outcome]:
        """Finish what changes nothing at once; the others are settled in groups while the next
        batches go on.

        Until an order is settled, nothing else of its proxy is handled. So an exit finds what the
        entry before it has bought, no copy is refused because of a reservation that is over, and
        the offset moves on once the settlement is committed.
        """
        return [
            self.on_order_reported(each.message) if each.message.state in FINAL_STATES else ()
            for each in batch
        ]

    async def _delay(self, facts: PreflightFacts, verdict: Verdict) -> DelayedEntry | None:
        """None: the verdict stands."""
        if not is_over_rate(verdict):
            return quote_again(facts, verdict)
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

    # One intent

    async def _judge_on_funds(self, facts: PreflightFacts) -> Verdict:
        verdict, cached = await self._judge_on_balance(facts, fresh=False)
        if isinstance(verdict, IntentRefused) and cached:  # a refusal never rests on a cached one
            verdict, _ = await self._judge_on_balance(facts, fresh=True)
        return verdict

    async def _judge_on_balance(
        self, facts: PreflightFacts, *, fresh: bool
    ) -> tuple[Verdict, bool]:
        """Return the verdict, and whether the balance that it rests on came from the cache."""
        balance = await self.balances.fetch_balance(
            facts.quoted.intent, neg_risk=facts.quote.neg_risk, fresh=fresh
        )
        commitments = await self.verdicts.load_commitments(
            facts.quoted.intent, limits=self.limits, since=balance.fetched_at, now=facts.now
        )
        self._require_in_time(facts)
        return judge_on_funds(
            replace(facts, funds=build_funds(balance, commitments))
        ), balance.cached

    async def _load_facts(self, quoted: IntentQuoted) -> PreflightFacts:
        facts = self._build_facts(quoted)
        if not _needs_position(facts):
            return facts
        position = await self.verdicts.load_position(quoted.intent)
        if not self._needs_own_shares(facts):
            return self._with_position(facts, position, None)
        balance = await self.balances.fetch_balance(quoted.intent, neg_risk=False, fresh=False)
        known = self._with_position(facts, position, balance)
        if balance.cached and is_about_size(refuse_early(known)):
            balance = await self.balances.fetch_balance(quoted.intent, neg_risk=False, fresh=True)
            known = self._with_position(facts, position, balance)
        return known

    # A batch

    async def _load_all_facts(
        self, quoted: Sequence[IntentQuoted]
    ) -> Sequence[PreflightFacts | None]:
        """None for what cannot be known without a request."""
        facts = [self._build_facts(each) for each in quoted]
        intents = [each.quoted.intent for each in facts if _needs_position(each)]
        positions = iter(await self.verdicts.load_positions(intents) if intents else ())
        return [
            self._with_cached_shares(each, next(positions)) if _needs_position(each) else each
            for each in facts
        ]

    def _with_cached_shares(
        self, facts: PreflightFacts, position: FollowPosition
    ) -> PreflightFacts | None:
        if not self._needs_own_shares(facts):
            return self._with_position(facts, position, None)
        balance = self.balances.cached_balance(facts.quoted.intent, neg_risk=False)
        if balance is None:
            return None
        known = self._with_position(facts, position, balance)
        return None if is_about_size(refuse_early(known)) else known

    async def _judge_all(self, facts: Sequence[PreflightFacts | None]) -> Sequence[Verdict | None]:
        """None for what cannot be judged without a request, or is to be judged once more."""
        verdicts: list[Verdict | None] = [
            None if each is None else refuse_early(each) for each in facts
        ]
        funded = [
            (number, each, balance)
            for number, (each, refusal) in enumerate(zip(facts, verdicts, strict=True))
            if each is not None and refusal is None and (balance := self._cached_balance(each))
        ]
        queries = [
            CommitmentsQuery(
                intent=each.quoted.intent,
                limits=self.limits,
                since=balance.fetched_at,
                now=each.now,
            )
            for _, each, balance in funded
        ]
        commitments = await self.verdicts.load_all_commitments(queries) if queries else ()
        for (number, each, balance), committed in zip(funded, commitments, strict=True):
            self._require_in_time(each)
            verdict = judge_on_funds(replace(each, funds=build_funds(balance, committed)))
            # a refusal never rests on a cached balance
            verdicts[number] = None if isinstance(verdict, IntentRefused) else verdict
        return verdicts

    def _cached_balance(self, facts: PreflightFacts) -> Balance | None:
        return self.balances.cached_balance(facts.quoted.intent, neg_risk=facts.quote.neg_risk)

    def _count_cached_balances(self, facts: PreflightFacts, verdict: Verdict) -> None:
        """Those that a recorded verdict of a batch rests on: what a batch leaves to the ordinary
        route is counted there.
        """
        if self._needs_own_shares(facts):
            metrics.cache_requested(metrics.Cache.BALANCES, metrics.CacheResult.HIT)
        if isinstance(verdict, IntentApproved):
            metrics.cache_requested(metrics.Cache.BALANCES, metrics.CacheResult.HIT)

    # Facts

    def _require_in_time(self, facts: PreflightFacts) -> None:
        intent = facts.quoted.intent
        if self.now() - facts.now > MAX_JUDGEMENT:
            raise Transient(
                f"the balance or the reservations of {intent.proxy} took too long to be read: "
                f"intent {intent.intent_id} has to be judged again"
            )

    def _needs_own_shares(self, facts: PreflightFacts) -> bool:
        return self.limits.sell_own_shares and facts.side is Side.SELL

    def _with_position(
        self, facts: PreflightFacts, position: FollowPosition, balance: Balance | None
    ) -> PreflightFacts:
        """``balance``: where it is needed for the follower's own shares."""
        if facts.side is Side.BUY:
            return replace(facts, position=position)
        if balance is not None:
            own = max(0, balance.shares - position.held_by_all_follows)
            position = replace(position, own_shares=own)
        exit_ = open_exit(
            facts.quoted.intent,
            position,
            mode=facts.follow.exits if facts.follow is not None else ExitMode.PROPORTIONAL,
            expires_at=expires_at(facts.quoted.intent, self.limits),
        )
        return replace(facts, position=position, exit=exit_)

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


def _quote_again(
    received: Received[IntentQuoted], facts: PreflightFacts | None, verdict: Verdict | None
) -> DelayedEntry | None:
    """With its trace; None: the verdict stands, or there is none yet."""
    delayed = quote_again(facts, verdict) if facts is not None and verdict is not None else None
    return delayed and replace(delayed, traceparent=received.traceparent)


def _publish(verdict: Verdict | None) -> Sequence[Message]:
    """None: it has no verdict yet."""
    return [] if verdict is None else [verdict]


def _needs_position(facts: PreflightFacts) -> bool:
    """An exit does, and an entry of a follow that mirrors its leader: what his level has been
    copied to.
    """
    if facts.side is Side.SELL:
        return True
    return facts.follow is not None and facts.follow.entries is EntryMode.MIRROR
