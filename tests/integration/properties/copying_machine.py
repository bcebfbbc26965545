"""Leaders, feeds, venue, chain and crashes in any sequence, as hypothesis draws it."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.decisions import Limits
from shared.db.leases import Leases
from shared.domain.follows import GLOBAL, Follow, Mode
from shared.domain.ids import follow_id
from shared.domain.money import Side
from shared.domain.terms import ExitMode
from tests.builders import NOON, a_follow, controls, seconds, shares, usdc
from tests.fakes import Clock, FixedControls
from tests.integration.properties.facts import Facts
from tests.integration.properties.invariants import Invariants, Records, load_records
from tests.integration.properties.modelled_chain import ModelledChain
from tests.integration.properties.modelled_leaders import VIEWS, LeaderTrade, ModelledLeaders
from tests.integration.properties.modelled_venue import (
    Answer,
    BookState,
    ModelledVenue,
    Settlement,
)
from tests.integration.properties.pipeline import (
    EXECUTOR,
    INGEST,
    PREFLIGHT,
    PRICER,
    Pipeline,
    empty_tables,
)

Result = TypeVar("Result")

BEFORE_MIDNIGHT = NOON.replace(hour=23, minute=55)
"""Hours and days change within a script: caps are of any 24 hours."""
STEP = timedelta(milliseconds=200)
LEADERS = tuple(f"0x{number:040x}" for number in (0x11, 0x12))
PROXIES = tuple(f"0x{number:040x}" for number in (0x21, 0x22))
TOKENS = ("71", "72")
PAIRS = ((0, 0), (1, 0), (0, 1))
"""Who copies whom: the first follower copies both leaders, and both copy the first leader."""
OWN_SHARES = shares(37)
"""That the followers bought themselves: no exit may sell them."""
MAX_MESSAGES = 2_000
"""Of a run until all queues are empty: more means that it does not end."""
MAX_ROUNDS = 60
"""Until everything has settled."""
SHORT_ROUNDS = 4
"""In which only seconds pass; in the others a minute."""
QUIET_ROUNDS = (601, 20, 61, 61)
"""Seconds after nothing is open any more: until trades that are in no block do not count, the
holdings of the leaders are compared for the first time, are lower, and are lower for long."""

leaders = st.sampled_from(range(len(LEADERS)))
tokens = st.sampled_from((0, 0, 0, 1))
sizes = st.sampled_from((1, 8, 40, 100, 300))
prices = st.sampled_from((Decimal("0.40"), Decimal("0.50"), Decimal("0.51")))
fills = st.lists(st.tuples(sizes, st.sampled_from((0, 0, 1))), min_size=1, max_size=3)
"""Shares, and by how many hundredths each price is above the first one."""
views = st.integers(0, 15)
"""A bit for each view that reports a trade at once."""
percents = st.sampled_from((100, 100, 50, 33))
clips = st.integers(1, 2)
answers = st.sampled_from(list(Answer))
sales = st.sampled_from(((100,), (60, 100)))
"""What a leader sells one after another, in percent of what he holds."""
turns = st.integers(0, 3)
"""Which queue comes first."""


@st.composite
def terms(draw: st.DrawFn) -> dict[str, Any]:
    """The terms of one follow."""
    fixed = draw(st.sampled_from((None, None, usdc(25), usdc(3))))
    return {
        "fixed_usdc": fixed,
        "percent": None if fixed else Decimal(draw(st.sampled_from((10, 50, 3)))),
        "min_usdc": draw(st.sampled_from((0, usdc(1), usdc(5)))),
        "max_usdc": draw(st.sampled_from((usdc(100), usdc(20)))),
        "daily_cap_usdc": draw(st.sampled_from((usdc(500), usdc(60), usdc(30)))),
        "max_slippage_bps": Decimal(600),
        "exits": draw(st.sampled_from((ExitMode.PROPORTIONAL, ExitMode.PROPORTIONAL, *ExitMode))),
    }


caps = st.sampled_from((None, usdc(30), usdc(60), usdc(100)))


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    return Limits(
        max_quote_age=seconds(5),
        max_last_book_age=seconds(20),
        max_bound_age=seconds(70),
        max_entry_age=seconds(60),
        max_exit_age=seconds(600),
        max_trade_usdc=usdc(1000),
        max_follower_daily_usdc=draw(caps),
        max_market_daily_usdc=draw(caps),
        max_global_daily_usdc=draw(caps),
        max_entries_per_minute=draw(st.sampled_from((None, 3, 1))),
    )


REACHED: Counter[str] = Counter()
"""How often something was there to be checked, in all scripts of the session."""


class CopyingMachine(RuleBasedStateMachine):
    """One script. What is read from the machine never decides what is drawn next."""

    engine: ClassVar[AsyncEngine]
    leases: ClassVar[Leases]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.has_failed = False
        self._described = 0
        self._published = 0

    @initialize(
        terms=st.tuples(terms(), terms(), terms()),
        limits=limits(),
        leaders_hold=st.sampled_from((0, 0, 100)),
        funds=st.sampled_from((1000, 1000, 40)),
        last_answers=st.lists(answers, max_size=6),
        last_sales=sales,
    )
    def begin(
        self,
        terms: tuple[dict[str, Any], ...],
        limits: Limits,
        leaders_hold: int,
        funds: int,
        last_answers: list[Answer],
        last_sales: tuple[int, ...],
    ) -> None:
        """``last_answers``, ``last_sales``: of the venue, and of each leader, when the script ends:
        he always gets out.
        """
        self.last_answers, self.last_sales = last_answers, last_sales
        self.clock = Clock(BEFORE_MIDNIGHT)
        self.chain = ModelledChain(self.clock)
        self.leaders = ModelledLeaders(self.chain)
        self.venue = ModelledVenue(
            self.clock,
            self.chain,
            prices=dict.fromkeys(TOKENS, Decimal("0.50")),
            usdc=dict.fromkeys(PROXIES, usdc(funds)),
        )
        for wallet, held in ((LEADERS[0], shares(leaders_hold)), (PROXIES[0], OWN_SHARES)):
            self.chain.mine(wallet, TOKENS[0], held, f"before {wallet}")
        follows = [
            _build_follow(leader, proxy, each)
            for (leader, proxy), each in zip(PAIRS, terms, strict=True)
        ]
        self.follows = {each.follow_id: each for each in follows}
        self.pipeline = Pipeline(
            engine=self.engine,
            leases=self.leases,
            clock=self.clock,
            controls=FixedControls(controls(*follows)),
            limits=limits,
            chain=self.chain,
            venue=self.venue,
        )
        self.facts = Facts()
        self.checks = Invariants(
            follows=self.follows,
            limits=limits,
            facts=self.facts,
            chain=self.chain,
            leaders=self.leaders,
            venue=self.venue,
            reached=REACHED,
        )
        self._run(empty_tables(self.engine))

    # Leaders

    @rule(leader=leaders, token=tokens, price=prices, fills=fills, views=views)
    def leader_buys(
        self, leader: int, token: int, price: Decimal, fills: list[tuple[int, int]], views: int
    ) -> None:
        """``views``: a bit for each view that reports it at once."""
        self._buy(leader, token, price, fills, views)

    @rule(token=tokens, price=prices, fills=fills, views=views, rounds=st.integers(0, 4))
    def both_leaders_buy(
        self,
        token: int,
        price: Decimal,
        fills: list[tuple[int, int]],
        views: int,
        rounds: int,
    ) -> None:
        """``rounds``: in which the followers' copies are judged at the same time."""
        for leader in range(len(LEADERS)):
            self._buy(leader, token, price, fills, views)
        self._handle_all_keys(rounds)

    @rule(leader=leaders, token=tokens, price=prices, size=sizes, times=st.integers(2, 4))
    def leader_buys_the_same_again_and_again(
        self, leader: int, token: int, price: Decimal, size: int, times: int
    ) -> None:
        for _ in range(times):
            self._buy(leader, token, price, [(size, 0)], views=0b0011)

    @rule(leader=leaders, token=tokens, price=prices, fills=fills, views=views, first=turns)
    def leader_buys_and_is_copied(
        self,
        leader: int,
        token: int,
        price: Decimal,
        fills: list[tuple[int, int]],
        views: int,
        first: int,
    ) -> None:
        """The copies settle, unless something is in their way."""
        self._buy(leader, token, price, fills, views or 0b0100)
        self._run(self._let_copies_settle(first))

    @rule(leader=leaders, token=tokens, price=prices, percent=percents, clips=clips, views=views)
    def leader_sells(
        self, leader: int, token: int, price: Decimal, percent: int, clips: int, views: int
    ) -> None:
        """Of what he holds of the token; of another one, where he holds nothing of it."""
        self._sell(leader, token, price, percent=percent, clips=clips, views=views)

    @rule(leader=leaders, token=tokens, price=prices, views=views, first=turns)
    def leader_sells_in_parts_while_copied(
        self, leader: int, token: int, price: Decimal, views: int, first: int
    ) -> None:
        for percent in (50, 100):
            self._sell(leader, token, price, percent=percent, clips=1, views=views or 0b0001)
            self._run(self.pipeline.work(max_messages=10, first=first))

    @rule(leader=leaders, token=tokens, price=prices, size=sizes, views=views)
    def leader_flips(self, leader: int, token: int, price: Decimal, size: int, views: int) -> None:
        """He buys, and sells all that he holds within the second."""
        self._buy(leader, token, price, [(size, 0)], views or 0b0001)
        self._sell(leader, token, price, percent=100, clips=1, views=views or 0b0001)

    def _buy(
        self, leader: int, token: int, price: Decimal, fills: list[tuple[int, int]], views: int
    ) -> None:
        whole = tuple((shares(size), price + Decimal(above) / 100) for size, above in fills)
        self._trade(leader, token, Side.BUY, whole, views)

    def _sell(
        self, leader: int, token: int, price: Decimal, *, percent: int, clips: int, views: int
    ) -> None:
        held = {each: self.leaders.held(LEADERS[leader], TOKENS[each]) for each in (0, 1)}
        token = token if held[token] > 0 else 1 - token
        sold = held[token] * percent // 100
        first = sold // clips
        parts = [first, sold - first] if clips > 1 else [sold]
        whole = tuple((part, price) for part in parts if part > 0)
        if whole:
            self._trade(leader, token, Side.SELL, whole, views)

    @rule(leader=leaders, token=tokens, percent=st.sampled_from((100, 50)))
    def leader_moves_shares_out(self, leader: int, token: int, percent: int) -> None:
        """By a merge or a transfer: the chain shows it, and no feed reports a trade."""
        self.leaders.mine_all(self.clock.now)
        moved = self.leaders.held(LEADERS[leader], TOKENS[token]) * percent // 100
        if moved > 0:
            self.leaders.move_out(LEADERS[leader], TOKENS[token], moved)
        self._step()

    @rule(
        leader=leaders,
        token=tokens,
        percent=percents,
        by_trade=st.booleans(),
        then=st.sampled_from((None, Side.BUY, Side.SELL)),
        rounds=st.sampled_from((0, 1, 2, 4)),
    )
    def leader_gets_out_unseen(
        self,
        leader: int,
        token: int,
        percent: int,
        by_trade: bool,
        then: Side | None,
        rounds: int,
    ) -> None:
        """``by_trade``: by a sale that no feed has reported yet. ``then``: what is reported at
        once: a sale that follows, or a purchase whose copies are on their way as what he holds is
        compared. ``rounds``: of comparing before; the last may find him lower for long enough.
        """
        price = self.venue.prices[TOKENS[token]]
        self._run(self._let_compare(1))
        if by_trade:
            self._sell(leader, token, price, percent=percent, clips=1, views=0)
            self.leaders.mine_all(self.clock.now)
            self._step()
        else:
            self.leader_moves_shares_out(leader, token, percent)
        if then is Side.SELL:
            self._sell(leader, token, price, percent=50, clips=1, views=0b0100)
        self._run(self._let_compare(rounds))
        if then is Side.BUY:
            self._buy(leader, token, price, [(100, 0)], views=0b0001)
            self._run(self.pipeline.work_on_all_keys(INGEST))
            self._run(self._let_compare(1))

    @rule(resent=st.sampled_from((False, False, False, True)))
    def block_is_mined(self, resent: bool) -> None:
        """``resent``: the venue has sent the settlements again, under other transactions."""
        self.leaders.mine_all(self.clock.now, resent=resent)
        self._step()

    # Feeds

    @rule(
        back=st.integers(0, 4),
        view=st.sampled_from(range(len(VIEWS))),
        numbers=st.sampled_from(((0,), (1,), (2,), (2, 1, 0), (0, 1, 2, 0))),
    )
    def feed_reports(self, back: int, view: int, numbers: tuple[int, ...]) -> None:
        """Rows of one of the last trades, again or for the first time."""
        if self.leaders.trades:
            trade = self.leaders.trades[-1 - back % len(self.leaders.trades)]
            self._report(trade, view, numbers)
        self._step()

    # Venue and chain

    @rule(token=tokens, state=st.sampled_from(list(BookState)))
    def book_becomes(self, token: int, state: BookState) -> None:
        self.venue.books[TOKENS[token]] = state
        self._step()

    @rule(
        answers=st.lists(answers, max_size=3),
        settlements=st.lists(st.sampled_from(list(Settlement)), max_size=3),
    )
    def venue_will(self, answers: list[Answer], settlements: list[Settlement]) -> None:
        """What it does with the next orders, and with the next matches."""
        self.venue.planned.extend(answers)
        self.venue.settlements.extend(settlements)
        self._step()

    @rule(held_match=st.booleans())
    def venue_settles(self, held_match: bool) -> None:
        self.venue.end_held_orders(match=held_match)
        self.venue.settle()
        self._step()

    @rule(
        lag=st.sampled_from((0, 3)),
        lookups=st.sampled_from((True, True, False)),
        node=st.sampled_from((True, True, False)),
        wallets=st.sampled_from((True, True, False)),
    )
    def faults_become(self, lag: int, lookups: bool, node: bool, wallets: bool) -> None:
        """Which of them answer."""
        self.venue.lag, self.venue.answers_lookups = seconds(lag), lookups
        self.chain.fails, self.venue.wallets_fail = not node, not wallets
        self._step()

    # Services

    @rule(messages=st.sampled_from((1, 3, 10)), first=turns)
    def services_handle(self, messages: int, first: int) -> None:
        self._run(self.pipeline.work(max_messages=messages, first=first))
        self._step()

    @rule(rounds=st.integers(1, 4))
    def services_handle_all_keys(self, rounds: int) -> None:
        """In each round, each service handles one message of every key at the same time."""
        self._handle_all_keys(rounds)
        self._step()

    def _handle_all_keys(self, rounds: int) -> None:
        for _ in range(rounds):
            for service in (INGEST, PRICER, PREFLIGHT, EXECUTOR):
                self._run(self.pipeline.work_on_all_keys(service))

    @rule(
        service=st.sampled_from((INGEST, PRICER, PREFLIGHT, EXECUTOR)),
        call=st.integers(0, 4),
        rewind_by=st.integers(0, 3),
    )
    def service_will_be_killed(self, service: str, call: int, rewind_by: int) -> None:
        self.pipeline.rewind_by = rewind_by
        self.pipeline.instances[service].interruption.kill_before(call)
        self._step()

    @rule(
        service=st.sampled_from((PREFLIGHT, PREFLIGHT, INGEST)),
        call=st.integers(0, 4),
        replaced=st.booleans(),
    )
    def service_will_be_paused(self, service: str, call: int, replaced: bool) -> None:
        """``replaced``: another instance takes over, and both are at work when it goes on."""
        self.pipeline.replaces_paused = replaced
        self.pipeline.instances[service].interruption.pause_before(call)
        self._step()

    @rule()
    def paused_service_goes_on(self) -> None:
        self._run(self.pipeline.resume_paused())
        self._step()

    @rule(mode=st.sampled_from((Mode.ACTIVE, Mode.ACTIVE, Mode.REDUCING, Mode.HALTED)))
    def mode_becomes(self, mode: Mode) -> None:
        self._set_mode(mode)
        self._step()

    @rule(by=st.sampled_from((1, 6, 6, 30, 61)), messages=st.sampled_from((0, 5, 50)), first=turns)
    def time_passes(self, by: int, messages: int, first: int) -> None:
        self._run(self._let_pass(seconds(by)))
        self._run(self.pipeline.work(max_messages=messages, first=first))
        self._step()

    @rule(hours=st.sampled_from((11, 13, 24)))
    def hours_pass(self, hours: int) -> None:
        """What was spent before may count against the daily caps no more."""
        self._run(self._let_pass(timedelta(hours=hours)))
        self._step()

    # Rests

    @rule(first=turns)
    def rest(self, first: int) -> None:
        """Everything that can be handled is handled."""
        self._run(self._rest(first))
        self._step()

    @rule(
        market=st.sampled_from((*[BookState.GOOD] * 4, BookState.EMPTY)),
        sales=st.one_of(st.just(()), sales),
    )
    def everything_settles(self, market: BookState, sales: tuple[int, ...]) -> None:
        """All rows are reported, all faults end, and time passes; the market may stay as bad.
        ``sales``: by which the leaders get out before; none: they don't.
        """
        self._get_leaders_out(sales)
        self._run(self._settle(market))
        self._step()

    def _get_leaders_out(self, sales: tuple[int, ...]) -> None:
        """All sources report these sales."""
        for leader in range(len(LEADERS)):
            for token in range(len(TOKENS)):
                price = self.venue.prices[TOKENS[token]]
                for percent in sales:
                    self._sell(leader, token, price, percent=percent, clips=2, views=15)

    def teardown(self) -> None:
        if not hasattr(self, "checks"):
            return
        try:
            if not self.has_failed:
                self.venue.planned.extend(self.last_answers)
                self._get_leaders_out(self.last_sales)
                self._run(self._settle(BookState.GOOD))
                records = self._run(load_records(self.engine))
                self.checks.count_reached(records, self.pipeline.journal)
        finally:
            self.runner.run(self.pipeline.stop())

    async def _rest(self, first: int = 0) -> Records:
        handled = await self.pipeline.work(max_messages=MAX_MESSAGES, first=first)
        assert handled < MAX_MESSAGES, "the messages do not end"
        self._collect()
        records = await load_records(self.engine)
        self.checks.check_safety(records)
        return records

    async def _let_copies_settle(self, first: int) -> None:
        """Two rounds: matches are mined, then confirmed, and reported each time."""
        await self._rest(first)
        for _ in range(2):
            self.venue.settle()
            await self._let_pass(seconds(1))
            await self._rest(first)

    async def _let_compare(self, rounds: int) -> None:
        for _ in range(rounds):
            self.venue.settle()
            await self._let_pass(seconds(31))
            await self._rest()

    async def _let_pass(self, by: timedelta) -> None:
        self.clock.now += by
        await self.pipeline.poll_feeds()

    async def _settle(self, market: BookState) -> None:
        self._end_faults(market)
        await self.pipeline.end_interruptions()
        records = await self._rest()
        quiet_rounds = 0
        for number in range(MAX_ROUNDS):
            self.venue.end_held_orders(match=True)
            self.venue.settle()
            pause = QUIET_ROUNDS[quiet_rounds - 1] if quiet_rounds else 6
            await self._let_pass(seconds(pause if number < SHORT_ROUNDS else max(pause, 61)))
            records = await self._rest()
            is_quiet = not records.has_open_copies and not self.pipeline.topics.waiting()
            quiet_rounds = quiet_rounds + 1 if is_quiet else 0
            if quiet_rounds > len(QUIET_ROUNDS):
                break
        self.checks.check_settled(records)
        assert not self.pipeline.topics.waiting(), "messages still wait"
        self.venue.books.clear()

    def _end_faults(self, market: BookState) -> None:
        self.venue.books = dict.fromkeys(TOKENS, market)
        self.venue.lag, self.venue.answers_lookups = seconds(0), True
        self.chain.fails = self.venue.wallets_fail = False
        self._set_mode(Mode.ACTIVE)
        self.leaders.mine_all(self.clock.now)
        for trade in self.leaders.trades:
            if not trade.is_confirmed_whole:
                self._report(trade, 2, (0, 1, 2))

    # How it is done

    def _trade(
        self,
        leader: int,
        token: int,
        side: Side,
        fills: tuple[tuple[int, Decimal], ...],
        views: int,
    ) -> None:
        trade = LeaderTrade(
            number=len(self.leaders.trades),
            leader=LEADERS[leader],
            token_id=TOKENS[token],
            side=side,
            fills=fills,
            matched_at=self.clock.now.replace(microsecond=0),
        )
        self.leaders.make_trade(trade)
        self.venue.prices[trade.token_id] = fills[0][1]
        if views & 0b1100:
            self.leaders.mine_all(self.clock.now)
        for number in range(len(VIEWS)):
            if views & (1 << number):
                self._report(trade, number, (0, 1, 2))
        self._step()

    def _report(self, trade: LeaderTrade, view: int, numbers: tuple[int, ...]) -> None:
        source, row_type = VIEWS[view]
        for number in numbers:
            if number < len(trade.fills):
                row = trade.row(source, row_type, number, now=self.clock.now)
                if row is not None:
                    self.leaders.note_report(trade)
                    trade.reported.add((source, row_type, number))
                    self.pipeline.publish([row])

    def _set_mode(self, mode: Mode) -> None:
        fixed = self.pipeline.controls
        before = fixed.current()
        fixed.earlier[before.version] = before
        fixed.controls = replace(before, version=before.version + 1, mode_by_scope={GLOBAL: mode})

    def _step(self) -> None:
        self.clock.now += STEP
        journal = self.pipeline.journal
        for line in journal[self._described :]:
            note(line)
        self._described = len(journal)

    def _collect(self) -> None:
        published = self.pipeline.topics.published
        self.facts.add(published[self._published :])
        self._published = len(published)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return self.runner.run(work)
        except BaseException:
            self.has_failed = True
            self._step()
            raise


def _build_follow(leader: int, proxy: int, terms: dict[str, Any]) -> Follow:
    wallets = {"leader": LEADERS[leader], "proxy": PROXIES[proxy]}
    return a_follow(follow_id=follow_id(**wallets), **wallets, **terms)
