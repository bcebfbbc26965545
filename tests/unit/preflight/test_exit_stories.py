"""Leaders buy and sell, orders end in any way and order: a follow sells its own shares and no
others, and once its leader is out it is out too, or an exit says that it is unsold.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from services.preflight.decisions import Balance, ExitState, Limits, build_continuation
from services.preflight.handler import Handler
from shared.domain.money import MIN_REMAINDER_SHARES, Side
from shared.messages.base import Message
from shared.messages.intents import Intent, IntentApproved, Missing, NoQuote
from shared.messages.orders import OrderState
from tests.builders import (
    NOON,
    a_follow,
    a_quote,
    an_intent,
    an_outcome,
    controls,
    quoted,
    seconds,
    shares,
    usdc,
)
from tests.fakes import Clock, FakeVerdicts, FixedControls

FOLLOW = a_follow(daily_cap_usdc=usdc(10**6))
LIMITS = Limits(
    max_quote_age=seconds(5),
    max_last_book_age=seconds(20),
    max_bound_age=seconds(70),
    max_entry_age=seconds(60),
    max_exit_age=seconds(600),
    max_trade_usdc=usdc(1000),
)
OWN_SHARES = shares(7)
"""What the follower bought himself: nothing of it may be sold."""


@dataclass
class Chain:
    """The proxy's balance. Every settlement shows in it before it is reported."""

    held: int = OWN_SHARES

    def cached_balance(self, *_: object, **__: object) -> None:
        return None

    async def fetch_balance(self, intent: Intent, *, neg_risk: bool, fresh: bool) -> Balance:
        return Balance(
            usdc=usdc(10**6),
            allowance=usdc(10**6),
            shares=self.held,
            shares_approved=True,
            fetched_at=NOON,
            cached=False,
        )


@dataclass
class Story:
    """One leader, one follow, one token."""

    chain: Chain = field(default_factory=Chain)
    clock: Clock = field(default_factory=lambda: Clock(NOON))
    verdicts: FakeVerdicts = field(default_factory=FakeVerdicts)
    leader_held: int = 0
    open_orders: list[IntentApproved] = field(default_factory=list)
    filled: Counter[Side] = field(default_factory=Counter)
    is_book_empty: bool = False
    met_final_obstacle: bool = False
    """An order sold less than it was to sell, for a reason that does not pass."""
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**6)))

    @property
    def handler(self) -> Handler:
        return Handler(
            controls=FixedControls(controls(FOLLOW)),
            balances=self.chain,
            verdicts=self.verdicts,
            limits=LIMITS,
            retry_delay=seconds(5),
            now=self.clock,
        )

    async def buy(self, amount: int) -> None:
        self.leader_held += amount
        await self.intend(side=Side.BUY, usdc=usdc(5), leader_shares=amount)

    async def sell(self, amount: int) -> None:
        sold = min(amount, self.leader_held)
        if sold > 0:
            await self.intend(
                side=Side.SELL,
                leader_shares=sold,
                leader_held_shares=self.leader_held,
                shares=sold,
            )
            self.leader_held -= sold

    async def intend(self, **intent: Any) -> None:
        number = next(self.numbers)
        await self.judge(an_intent(intent_id=f"{number:032x}", filled_at=self.clock.now, **intent))

    async def judge(self, intent: Intent) -> None:
        """Let it be judged twice: the second is a redelivery."""
        quote = (
            NoQuote(missing=Missing.EMPTY_BOOK)
            if self.is_book_empty and intent.side is Side.SELL
            else a_quote(fetched_at=self.clock.now)
        )
        first, again = [
            await self.handler.on_intent_quoted(quoted(quote, **dict(intent))) for _ in range(2)
        ]
        assert first == again
        self.open_orders += [each for each in first if isinstance(each, IntentApproved)]

    async def settle(self, which: int, tenths: int, *, may_pass: bool) -> None:
        """End an open order with so many tenths filled; an entry is filled whole or not at all."""
        if not self.open_orders:
            return
        approved = self.open_orders.pop(which % len(self.open_orders))
        buys = approved.intent.side is Side.BUY
        requested = shares(10) if buys else approved.shares
        filled = requested * (10 * (tenths > 4) if buys else tenths) // 10
        self.chain.held += filled if buys else -filled
        self.filled[approved.intent.side] += filled
        if not buys and filled == 0 and not may_pass:
            self.met_final_obstacle = True
        report = an_outcome(
            intent_id=approved.intent_id,
            side=approved.intent.side,
            state=OrderState.CONFIRMED if filled else OrderState.KILLED,
            shares=filled,
            usdc=filled // 2,
            fee_usdc=0,
            obstacle_may_pass=may_pass or filled > 0,
        )
        reports: list[Message] = []
        for _ in range(2):
            reports += await self.handler.on_order_reported(report)
        assert reports == []

    async def attempt_due_exits(self) -> None:
        due = [
            each
            for each in self.verdicts.exits.values()
            if each.next_attempt_at is not None and each.next_attempt_at <= self.clock.now
        ]
        for exit_ in due:
            await self.judge(build_continuation(exit_, now=self.clock.now))

    async def come_to_rest(self) -> None:
        """From now on every order is filled and every book has offers."""
        self.is_book_empty = False
        while self.open_orders or any(
            each.state is ExitState.OPEN for each in self.verdicts.exits.values()
        ):
            while self.open_orders:
                await self.settle(0, 10, may_pass=True)
            self.clock.now += seconds(5)
            await self.attempt_due_exits()

    def check(self) -> None:
        held = self.filled[Side.BUY] - self.filled[Side.SELL]
        assert held >= 0
        assert self.chain.held == OWN_SHARES + held
        reserved = sum(each.shares for each in self.open_orders)
        assert reserved <= self.chain.held


ACTIONS = st.one_of(
    st.tuples(st.just("buy"), st.integers(1, 100).map(shares)),
    st.tuples(st.just("sell"), st.sampled_from([1, 20, 50, 10**6]).map(shares)),
    st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 10), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 60, 700])),
    st.tuples(st.just("book"), st.booleans()),
)


async def play(actions: list[tuple[Any, ...]]) -> Story:
    story = Story()
    for name, *arguments in actions:
        match name:
            case "buy":
                await story.buy(arguments[0])
            case "sell":
                await story.sell(arguments[0])
            case "settle":
                await story.settle(arguments[0], arguments[1], may_pass=arguments[2])
            case "wait":
                story.clock.now += seconds(arguments[0])
                await story.attempt_due_exits()
            case "book":
                story.is_book_empty = arguments[0]
        story.check()
    await story.sell(story.leader_held)
    await story.come_to_rest()
    story.check()
    return story


@settings(max_examples=300, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=25))
def test_a_follow_is_out_once_its_leader_is_or_an_exit_is_unsold(
    actions: list[tuple[Any, ...]],
) -> None:
    story = asyncio.run(play(actions))

    held = story.filled[Side.BUY] - story.filled[Side.SELL]
    position = asyncio.run(story.verdicts.load_position(an_intent(side=Side.SELL)))
    exits = story.verdicts.exits.values()
    is_unsold = any(each.state is ExitState.UNSOLD for each in exits)
    event(f"unsold: {is_unsold}, exits: {len(exits)}")
    assert position.held_shares == held
    assert (position.reserved_shares, position.open_entries) == (0, ())
    if is_unsold:
        assert story.met_final_obstacle or story.clock.now >= NOON + LIMITS.max_exit_age
    else:
        assert held < MIN_REMAINDER_SHARES * (len(exits) + 1)


async def test_a_leader_who_buys_sells_and_buys_again_within_a_second_is_copied_in_that_order() -> (
    None
):
    story = Story()
    await story.buy(shares(100))
    await story.sell(shares(100))
    await story.buy(shares(100))
    for _ in range(2):
        await story.settle(0, 10, may_pass=True)

    await story.come_to_rest()

    assert story.filled == {Side.BUY: shares(20), Side.SELL: shares(10)}


async def test_an_exit_whose_entry_bought_nothing_is_done() -> None:
    story = Story()
    await story.buy(shares(100))
    await story.sell(shares(100))
    await story.settle(0, 0, may_pass=True)

    await story.come_to_rest()

    assert [each.state for each in story.verdicts.exits.values()] == [ExitState.DONE]
    assert story.chain.held == OWN_SHARES
