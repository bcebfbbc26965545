"""Intents of several followers are judged together as each is alone, or left to the ordinary
route.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preflight.decisions import Balance, Limits, Verdict
from services.preflight.handler import Handler, Recording
from shared.domain.errors import Transient
from shared.domain.follows import Controls, Mode, follower_scope
from shared.domain.money import Side
from shared.domain.terms import EntryMode
from shared.messages.intents import (
    CopyCause,
    Intent,
    IntentApproved,
    IntentQuoted,
    IntentRefused,
    LeaderLevel,
    Missing,
    NoQuote,
    Quote,
)
from shared.messages.orders import FINAL_STATES, OrderState
from shared.messages.refusals import Refusal
from shared.streams.routes import Outcome, Received
from tests.builders import (
    NOON,
    a_follow,
    a_quote,
    an_outcome,
    approved,
    controls,
    quoted,
    seconds,
    usdc,
)
from tests.fakes import Clock, FakeVerdicts, FixedControls
from tests.unit.preflight.test_handler import LIMITS, balance
from tests.unit.pricer.harness import counted

TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
COUNT = 4


def proxy(number: int) -> str:
    return f"0x{number + 1:040x}"


def follow_id(number: int) -> str:
    return f"follow-{number}"


@dataclass
class Wallets:
    """The balance of each proxy, in the cache or on the chain."""

    cached: dict[str, Balance] = field(default_factory=dict)
    fresh: dict[str, Balance] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    def cached_balance(self, intent: Intent, *, neg_risk: bool) -> Balance | None:
        return self.cached.get(intent.proxy)

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        if not fresh and intent.proxy in self.cached:
            return self.cached[intent.proxy]
        self.requested.append(intent.proxy)
        return self.fresh[intent.proxy]


class CountedVerdicts(FakeVerdicts):
    """Keeps what was recorded together."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[Sequence[Recording]] = []

    async def record_all(self, recordings: Sequence[Recording]) -> Sequence[Verdict]:
        self.groups.append(recordings)
        return await super().record_all(recordings)


@dataclass
class Preflight:
    limits: Limits = LIMITS
    wallets: Wallets = field(default_factory=Wallets)
    verdicts: CountedVerdicts = field(default_factory=CountedVerdicts)
    controls: Controls = field(
        default_factory=lambda: controls(
            *(a_follow(follow_id=follow_id(n), proxy=proxy(n)) for n in range(COUNT))
        )
    )

    @property
    def handler(self) -> Handler:
        return Handler(
            controls=FixedControls(self.controls),
            balances=self.wallets,
            verdicts=self.verdicts,
            limits=self.limits,
            retry_delay=seconds(5),
            now=Clock(NOON),
        )

    def fund(self, *amounts: int | None, cached: bool = True) -> None:
        """Of each proxy; None: nothing is in the cache."""
        for number, amount in enumerate(amounts):
            wallet = replace(balance(amount or 0), shares=10**9, shares_approved=True)
            self.wallets.fresh[proxy(number)] = wallet
            if amount is not None and cached:
                self.wallets.cached[proxy(number)] = replace(wallet, cached=True)

    async def judge(self, *batch: IntentQuoted) -> Sequence[Outcome]:
        return await self.handler.on_intents_quoted(list(map(received, batch)))

    async def buy(self, number: int, shares: int) -> None:
        """Have the follower hold shares."""
        bought = entry(number, intent_id=f"b{number:031x}").intent
        await self.verdicts.record(approved(bought))
        await self.verdicts.settle(an_outcome(intent_id=bought.intent_id, shares=shares), now=NOON)


def received(message: Any) -> Received[Any]:
    return Received(message=message, traceparent=TRACE)


def entry(number: int, quote: Quote | NoQuote | None = None, **intent: Any) -> IntentQuoted:
    fields = {
        "intent_id": f"{number:032x}",
        "proxy": proxy(number),
        "follow_id": follow_id(number),
    }
    return quoted(quote, **fields | intent)


def sale(number: int, **intent: Any) -> IntentQuoted:
    return entry(number, side=Side.SELL, leader_held_shares=200_000_000, **intent)


def verdict(outcome: Outcome) -> Verdict:
    assert isinstance(outcome, list)
    (message,) = outcome
    assert isinstance(message, IntentApproved | IntentRefused)
    return message


async def test_entries_that_cached_balances_cover_are_approved_and_recorded_together() -> None:
    service = Preflight()
    service.fund(usdc(100), usdc(50))

    outcomes = await service.judge(entry(0), entry(1))

    assert [type(verdict(each)) for each in outcomes] == [IntentApproved] * 2
    ((first, second),) = service.verdicts.groups
    assert (first.traceparent, second.verdict.intent.proxy) == (TRACE, proxy(1))
    assert service.wallets.requested == []


async def test_what_needs_a_request_is_left_to_the_ordinary_route() -> None:
    service = Preflight()
    service.fund(None, usdc(50))

    missing, known = await service.judge(entry(0), entry(1))

    assert missing is None
    assert isinstance(verdict(known), IntentApproved)
    assert service.wallets.requested == []


async def test_a_refusal_on_a_cached_balance_is_not_recorded_by_a_batch() -> None:
    service = Preflight()
    service.fund(0)

    assert await service.judge(entry(0)) == [None]

    assert service.verdicts.groups == []
    service.wallets.fresh[proxy(0)] = balance(usdc(100))
    (alone,) = await service.handler.on_intent_quoted(entry(0))
    assert isinstance(alone, IntentApproved)


async def test_a_refusal_that_needs_no_balance_is_recorded_by_a_batch() -> None:
    service = Preflight()
    service.controls = replace(
        service.controls, mode_by_scope={follower_scope(proxy(1)): Mode.HALTED}
    )
    no_quote = entry(0, NoQuote(missing=Missing.EMPTY_BOOK))

    outcomes = await service.judge(no_quote, entry(1), sale(2))

    assert [each.reason for each in map(verdict, outcomes) if isinstance(each, IntentRefused)] == [
        Refusal.EMPTY_BOOK,
        Refusal.HALTED,
        Refusal.NO_POSITION,
    ]


async def test_an_entry_over_its_rate_is_delayed_by_the_ordinary_route() -> None:
    service = Preflight(limits=replace(LIMITS, max_entries_per_minute=1))
    service.fund(usdc(100))
    await service.judge(entry(0))

    assert await service.judge(entry(0, intent_id="9" * 32)) == [None]
    assert service.verdicts.delayed == {}


async def test_entries_whose_quotes_became_too_old_are_delayed_together() -> None:
    service = Preflight()
    service.fund(usdc(100), usdc(50), usdc(50))
    old, new = a_quote(fetched_at=NOON - seconds(6)), a_quote(fetched_at=NOON)
    waited = {"occurred_at": NOON - seconds(5)}

    outcomes = await service.judge(
        entry(0, old).model_copy(update=waited),
        entry(1, new),
        entry(2, old).model_copy(update=waited),
    )

    assert outcomes[0] == outcomes[2] == []
    assert isinstance(verdict(outcomes[1]), IntentApproved)
    assert [each.intent.proxy for each in service.verdicts.delayed.values()] == [proxy(0), proxy(2)]
    assert {each.traceparent for each in service.verdicts.delayed.values()} == {TRACE}
    repeated = await service.judge(
        entry(0, old).model_copy(update=waited), entry(1, old).model_copy(update=waited)
    )
    assert repeated[0] == []
    assert repeated[1] == outcomes[1]


async def test_exits_are_judged_with_what_each_follow_holds() -> None:
    service = Preflight()
    service.fund(usdc(100), usdc(100))
    await service.buy(0, 8_000_000)

    outcomes = await service.judge(sale(0), sale(1))

    sold, nothing = map(verdict, outcomes)
    assert isinstance(sold, IntentApproved)
    assert sold.shares == 4_000_000
    assert isinstance(nothing, IntentRefused)
    assert set(service.verdicts.exits) == {sale(0).intent_id}
    assert service.verdicts.exits[sale(0).intent_id].traceparent == TRACE


async def test_an_exit_lets_delayed_entries_go_in_a_batch_too() -> None:
    service = Preflight(limits=replace(LIMITS, max_entries_per_minute=1))
    service.fund(usdc(100))
    await service.judge(entry(0, intent_id="8" * 32, token_id="12"))
    traded_at = NOON + seconds(1)  # by another clock
    late = entry(0, intent_id="9" * 32, filled_at=traded_at)
    assert await service.handler.on_intent_quoted(late) == []

    await service.judge(sale(0, filled_at=traded_at))

    (known,) = await service.handler.on_intent_quoted(late)
    assert isinstance(known, IntentRefused)
    assert known.reason is Refusal.EXIT_CAME_FIRST


async def test_shares_of_the_follower_that_are_not_in_the_cache_are_requested_alone() -> None:
    service = Preflight(limits=replace(LIMITS, sell_own_shares=True))
    service.fund(None, usdc(1))

    missing, known = await service.judge(sale(0), sale(1))

    assert missing is None
    assert isinstance(verdict(known), IntentApproved)


@pytest.mark.parametrize("held", [0, 5_000])
async def test_no_exit_is_refused_because_of_shares_that_the_cache_does_not_show(held: int) -> None:
    service = Preflight(limits=replace(LIMITS, sell_own_shares=True))
    service.fund(usdc(1))
    service.wallets.cached[proxy(0)] = replace(service.wallets.cached[proxy(0)], shares=0)
    await service.buy(0, held)  # less than can be sold

    assert await service.judge(sale(0)) == [None]
    (alone,) = await service.handler.on_intent_quoted(sale(0))

    assert isinstance(alone, IntentApproved)
    assert service.wallets.requested[0] == proxy(0)


async def test_a_copy_counts_its_cached_balances_once_also_where_the_batch_leaves_it() -> None:
    service = Preflight(limits=replace(LIMITS, sell_own_shares=True))
    service.fund(usdc(100), 0, usdc(1))
    before = counted("cache_requests", cache="balances", result="hit")

    bought, poor, sold = await service.judge(entry(0), entry(1), sale(2))

    assert (poor, isinstance(verdict(bought), IntentApproved)) == (None, True)
    assert isinstance(verdict(sold), IntentApproved)
    # One of the entry, and two of the exit: for the follower's own shares, and for all.
    assert counted("cache_requests", cache="balances", result="hit") == before + 3


async def test_a_shared_cap_that_a_batch_would_exceed_has_all_of_them_judged_alone() -> None:
    service = Preflight(limits=replace(LIMITS, max_market_daily_usdc=usdc(11)))
    service.fund(*[usdc(100)] * COUNT)
    batch = [entry(number) for number in range(COUNT)]

    with pytest.raises(Transient):
        await service.judge(*batch)

    judged = [await service.handler.on_intent_quoted(each) for each in batch]
    assert [type(each) for (each,) in judged] == [IntentApproved] * 2 + [IntentRefused] * 2


async def test_nothing_is_judged_together_without_confirmed_controls() -> None:
    service = Preflight()
    handler = replace(service.handler, controls=FixedControls(None))

    with pytest.raises(Transient):
        await handler.on_intents_quoted([received(entry(0))])


async def test_a_batch_that_takes_too_long_begins_again() -> None:
    service = Preflight()
    service.fund(usdc(100))
    times = [NOON, NOON + seconds(61)]
    slow = replace(service.handler, now=lambda: times.pop(0))

    with pytest.raises(Transient, match="has to be judged again"):
        await slow.on_intents_quoted([received(entry(0))])


async def test_a_redelivered_batch_repeats_its_verdicts() -> None:
    service = Preflight()
    service.fund(usdc(100), usdc(100))
    first = await service.judge(entry(0), entry(1))
    service.controls = replace(service.controls, version=9)

    assert await service.judge(entry(1), entry(0)) == [*reversed(first)]


@pytest.mark.parametrize("state", OrderState)
async def test_final_orders_are_settled_while_the_next_batches_go_on(state: OrderState) -> None:
    service = Preflight()
    service.fund(usdc(100))
    await service.judge(entry(0))
    report = an_outcome(
        intent_id=entry(0).intent_id, proxy=proxy(0), state=state, shares=7, usdc=1, fee_usdc=0
    )

    (outcome,) = await service.handler.on_orders_reported([received(report)])

    assert isinstance(outcome, Awaitable) is (state in FINAL_STATES)
    assert (await outcome if isinstance(outcome, Awaitable) else outcome) in ([], ())
    position = await service.verdicts.load_position(sale(0).intent)
    assert position.held_shares == (7 if state in FINAL_STATES else 0)


LEVEL = LeaderLevel(block_number=2, base_block_number=1, shares=0, accounted_through=NOON)
intents = st.fixed_dictionaries(
    {"side": st.sampled_from(Side)},
    optional={
        "usdc": st.integers(usdc("0.5"), usdc(30)),
        "token_id": st.sampled_from(["11", "12"]),
        "filled_at": st.sampled_from([NOON - seconds(1), NOON - seconds(61)]),
        "leader_held_shares": st.integers(100_000_000, 10**9),
        "cause": st.sampled_from([CopyCause.TRADE, CopyCause.ENDED]),
        "level": st.sampled_from([None, LEVEL]),
    },
)
amounts = st.lists(st.one_of(st.none(), st.integers(0, usdc(30))), min_size=COUNT, max_size=COUNT)


@given(
    fields=st.lists(intents, min_size=1, max_size=COUNT),
    funds=amounts,
    held=st.lists(st.integers(0, 10**8), min_size=COUNT, max_size=COUNT),
    own=st.booleans(),
    rate=st.sampled_from([None, 1, 2]),
    mirrors=st.booleans(),
)
async def test_a_batch_gives_what_the_ordinary_route_gives(
    fields: list[dict[str, Any]],
    funds: list[int | None],
    held: list[int],
    own: bool,
    rate: int | None,
    mirrors: bool,
) -> None:
    entries = EntryMode.MIRROR if mirrors else EntryMode.TRADES
    follows = [
        a_follow(follow_id=follow_id(n), proxy=proxy(n), entries=entries) for n in range(COUNT)
    ]
    limits = replace(LIMITS, sell_own_shares=own, max_entries_per_minute=rate)
    together, alone = (Preflight(limits=limits, controls=controls(*follows)) for _ in range(2))
    for service in (together, alone):
        service.fund(*funds)
        for number, amount in enumerate(held):
            await service.buy(number, amount)
    batch = [entry(number, **each) for number, each in enumerate(fields)]

    outcomes = await together.judge(*batch)

    assert together.wallets.requested == []
    for message, outcome in zip(batch, outcomes, strict=True):
        expected = await alone.handler.on_intent_quoted(message)
        if outcome is not None:
            assert [verdict(outcome)] == list(expected)
            known = together.verdicts.exits.get(message.intent_id)
            recorded = alone.verdicts.exits.get(message.intent_id)
            assert known == (recorded and replace(recorded, traceparent=TRACE))
