"""One demo, from the first download to the last check: start, trade, settle, compare, stop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal

from cli.demo.chain import Balances, ChainView
from cli.demo.checks import Evidence, run_checks
from cli.demo.copies import market_names
from cli.demo.faults import strike_for
from cli.demo.figures import OpenCopy
from cli.demo.follows import plan_follows
from cli.demo.options import Options, Until
from cli.demo.records import Records
from cli.demo.screen import ROWS_SHOWN, Progress, Screen, step
from cli.demo.startup import local_stack, published_state, start_services, stop_services
from cli.demo.summary import FaultStrikes, Summary, summarise
from cli.demo.topic_reader import TopicReader
from shared.chain.client import ChainClient
from shared.chain.rpc import Rpc
from shared.db.controls import save_follows, save_mode
from shared.domain.follows import GLOBAL, Mode, follower_scope
from tools.pipeline.local import LocalPipeline
from tools.pipeline.parts import SERVICES
from tools.stack.errors import StackError
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings
from tools.stack.supervisor import Supervisor

CONTROLS_APPLY_WITHIN_S = 2
"""Services are notified of new follows, and also check every second."""
USDC_EACH = "500"
REFRESH_INTERVAL_S = 0.25
DEATH_NOTICED_WITHIN_S = 1
PAUSED_BETWEEN = (Decimal("0.3"), Decimal("0.6"))
"""The part of the leaders' trades during which one follower is halted."""
AUTHOR = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Participants:
    leaders: list[str]
    proxies: list[str]
    tokens: list[str]


class Demo:
    """The state of one run. After ``stop`` copies are still settled and checked."""

    def __init__(self, options: Options, screen: Screen) -> None:
        self._options, self._screen = options, screen
        self._stop = asyncio.Event()
        self._moments = {"start": time.monotonic_ns()}
        self._phase = "starting"
        self.trading = False

    def stop(self) -> None:
        self._stop.set()

    async def run(self, settings: StackSettings) -> Summary:
        """Raises: StackError where a part cannot start or dies."""
        async with local_stack(settings, self._screen) as stack:
            return await run_unless_a_part_dies(stack.supervisor, lambda: self._run_on(stack))

    async def _run_on(self, stack: LocalStack) -> Summary:
        async with AsyncExitStack() as open_until_done:
            self._screen.begin("paper venue, its contracts, topics and tables")
            self._pipeline = await open_until_done.enter_async_context(
                LocalPipeline(stack, self._options.folder)
            )
            self._screen.done("paper venue, its contracts, topics and tables")
            engine = self._pipeline.engine()
            open_until_done.push_async_callback(engine.dispose)
            self._records = Records(engine)
            await self._require_empty()
            rpc = await open_until_done.enter_async_context(ChainClient(Rpc(stack.rpc_url)))
            self._chain = ChainView(rpc, first_block=(await rpc.fetch_latest_block()).number)
            names = market_names(await self._pipeline.venue.fetch_world())
            self._reader = await open_until_done.enter_async_context(
                TopicReader(self._pipeline.kafka_settings(), names)
            )
            self._engine = engine
            open_until_done.push_async_callback(self._stop_services)
            participants, urls = await self._start()
            await open_until_done.enter_async_context(
                published_state(stack, stack.settings.folder, urls)
            )
            return await self._trade_and_check(participants)

    async def _start(self) -> tuple[Participants, dict[str, str]]:
        """Start services and create followers; executor starts when the followers' keys exist.
        Returns when every service knows the follows.
        """
        others = [name for name in SERVICES if name != "executor"]
        participants, urls = await asyncio.gather(
            self._create_followers(), start_services(self._pipeline, self._screen, others)
        )
        followed_at = time.monotonic_ns()
        urls |= await start_services(self._pipeline, self._screen, ["executor"])
        await asyncio.sleep(
            max(0, CONTROLS_APPLY_WITHIN_S - (time.monotonic_ns() - followed_at) // 10**9)
        )
        return participants, urls

    async def _stop_services(self) -> None:
        with step(self._screen, "all services stopped"):
            await stop_services(self._pipeline)

    async def _require_empty(self) -> None:
        """Raises: StackError, because an old run's records would be counted as this one's."""
        if await self._records.count():
            raise StackError(
                "DATABASE_URL: the database already holds copies, but the demo counts from zero: "
                "use an empty database"
            )

    async def _create_followers(self) -> Participants:
        with step(self._screen, f"{self._options.followers} followers with {USDC_EACH} USDC each"):
            accounts = await self._pipeline.create_followers(
                self._options.followers, usdc=USDC_EACH
            )
            world = await self._pipeline.venue.fetch_world()
            participants = Participants(
                leaders=list(world["leaders"]),
                proxies=[account.proxy for account in accounts],
                tokens=[token for market in world["markets"] for token in market["token_ids"]],
            )
            follows = plan_follows(participants.leaders, participants.proxies)
            await save_follows(
                self._engine, follows, by=AUTHOR, change=f"{len(follows)} follows of the demo"
            )
        return participants

    async def _trade_and_check(self, participants: Participants) -> Summary:
        before = await self._chain.fetch_balances(participants.proxies, participants.tokens)
        self._mark("ready")
        strikes = await self._trade_with_fault(participants)
        self._mark("traded")
        await self._settle()
        await self._halt()
        self._mark("settled")
        return await self._summarise(participants, before, strikes)

    async def _trade_with_fault(self, participants: Participants) -> FaultStrikes | None:
        """Trade with the fault of this run on. It is off afterwards, so that open copies can be
        resolved.
        """
        fault, venue = self._options.fault, self._pipeline.venue
        if fault is None:
            await self._trade(participants)
            return None
        strike = strike_for(fault)
        await venue.change_faults({fault.value: strike.model_dump(mode="json")})
        await self._trade(participants)
        times = int((await venue.fetch_faults())["struck"][fault.value])
        await venue.change_faults({fault.value: None})
        return FaultStrikes(
            fault=fault.value, share=strike.share, seconds=strike.seconds, times=times
        )

    async def _trade(self, participants: Participants) -> None:
        self.trading, self._phase = True, "trading"
        venue = self._pipeline.venue
        await venue.start_leaders(
            trades=self._options.leader_trades, per_second=str(self._options.per_second)
        )
        pause = Pause(follower_scope(participants.proxies[-1]), trades=self._options.trades)
        try:
            while not self._stop.is_set() and (stats := await venue.fetch_stats())["trading"]:
                self._reader.check()
                if (mode := pause.next_mode(int(stats["leader_trades"]))) is not None:
                    await save_mode(self._engine, pause.scope, mode, by=AUTHOR)
                self._show(int(stats["leader_trades"]))
                await asyncio.sleep(REFRESH_INTERVAL_S)
        finally:
            self.trading = False
        await venue.stop_leaders()

    async def _settle(self) -> None:
        """Return when nothing is open, or the time is over."""
        self._phase = "settling"
        made = int((await self._pipeline.venue.fetch_stats())["leader_trades"])
        deadline = time.monotonic_ns() + self._options.settle_within_s * 10**9
        while any(await self._find_unfinished(made)) and time.monotonic_ns() < deadline:
            for _ in range(4):
                self._show(made)
                await asyncio.sleep(REFRESH_INTERVAL_S)
        await self._reader.catch_up()

    async def _halt(self) -> None:
        """Halt everything, so that nothing changes while it is counted: exits would be attempted
        again.
        """
        await save_mode(self._engine, GLOBAL, Mode.HALTED, by=AUTHOR)
        await asyncio.sleep(CONTROLS_APPLY_WITHIN_S)
        await self._settle()

    async def _find_unfinished(self, made: int) -> tuple[tuple[OpenCopy, ...], list[str]]:
        """The copies that are not final, and descriptions of what else is unfinished."""
        seen = await self._records.load_trades_seen()
        # A feed may miss trades because of the fault: then it is enough that another one saw them.
        required = seen if self._options.fault is None else {"any": set().union(*seen.values())}
        by_feed = [
            f"{made - len(ids)} leader trades were not seen by the {feed} feed"
            for feed, ids in required.items()
            if len(ids) < made
        ]
        copies = await self._records.load_open_copies()
        named = {copy.intent_id for copy in copies}
        pending = {
            intent_id: state
            for intent_id, state in self._reader.copies.pending().items()
            if intent_id not in named
        }
        return copies, by_feed + [
            f"intent {intent_id} is {state}, by the topics" for intent_id, state in pending.items()
        ]

    async def _summarise(
        self, participants: Participants, before: Balances, fault: FaultStrikes | None
    ) -> Summary:
        stats = await self._pipeline.venue.fetch_stats()
        orders = await self._records.load_orders(self._reader.copies.quoted_at)
        after = await self._chain.fetch_balances(participants.proxies, participants.tokens)
        made, copies = int(stats["leader_trades"]), self._reader.copies
        seen = await self._records.load_trades_seen()
        open_copies, unfinished = await self._find_unfinished(made)
        evidence = Evidence(
            leader_trades_made=made,
            leader_trades_on_chain=await self._chain.fetch_leader_trades(participants.leaders),
            leader_trades_seen=frozenset(set().union(*seen.values())),
            intents=frozenset(copies.intents),
            verdicts=copies.verdicts,
            verdicts_recorded=await self._records.load_verdicts(),
            orders=orders,
            venue_matches=int(stats["matched"]) - int(stats["house_matched"]),
            fills_on_chain=await self._chain.fetch_filled_orders(participants.proxies),
            positions=await self._records.load_positions(),
            positions_of_follows=await self._records.load_positions_of_follows(),
            positions_on_chain=after.shares,
            cash=await self._records.load_cash(),
            cash_on_chain={
                proxy: after.cash[proxy] - before.cash[proxy] for proxy in participants.proxies
            },
            dead_letters=tuple(self._reader.dead_letters),
            open_copies=open_copies,
            unfinished=tuple(unfinished),
        )
        exits, further_attempts = await self._records.load_exits()
        return summarise(
            orders,
            run_checks(evidence),
            leader_trades=len(evidence.leader_trades_seen),
            followers=len(participants.proxies),
            copies=copies.count_states(),
            refusals=copies.count_refusals(),
            exits=exits,
            further_attempts=further_attempts,
            seconds=self._seconds(),
            open_copies=open_copies,
            fault=fault,
        )

    def _show(self, made: int) -> None:
        copies = self._reader.copies
        if "first copy" not in self._moments and any(
            report.shares for report in copies.reports.values()
        ):
            self._mark("first copy")
        self._screen.show(
            Progress(
                phase=self._phase,
                leader_trades=made,
                requested=self._options.trades if self._options.until is Until.TRADED else None,
                states=copies.count_states(),
                refusals=copies.count_refusals(),
                rows=copies.recent(ROWS_SHOWN),
            )
        )

    def _mark(self, name: str) -> None:
        self._moments[name] = time.monotonic_ns()

    def _seconds(self) -> dict[str, Decimal]:
        """From the start to each moment."""
        start = self._moments["start"]
        return {
            f"to {name}": Decimal((at - start) // 10**8).scaleb(-1)
            for name, at in self._moments.items()
            if name != "start"
        }


@dataclass(slots=True)
class Pause:
    """Halts one follower for a part of the trades."""

    scope: str
    trades: int
    mode: Mode = Mode.ACTIVE

    def next_mode(self, made: int) -> Mode | None:
        """The mode to set after so many trades; None: no change."""
        begin, end = (part * self.trades for part in PAUSED_BETWEEN)
        mode = Mode.HALTED if begin <= made < end else Mode.ACTIVE
        if mode is self.mode:
            return None
        self.mode = mode
        return mode


async def run_unless_a_part_dies(
    supervisor: Supervisor, work: Callable[[], Awaitable[Summary]]
) -> Summary:
    """Run the work. Raises: PartDied as soon as a part dies, also if that makes the work fail."""
    working, death = asyncio.ensure_future(work()), asyncio.create_task(supervisor.first_death())
    try:
        await asyncio.wait({working, death}, return_when=asyncio.FIRST_COMPLETED)
        if working.done() and working.exception() is not None:
            await asyncio.wait({death}, timeout=DEATH_NOTICED_WITHIN_S)
        if death.done():
            raise death.result()
        return working.result()
    finally:
        for task in (working, death):
            task.cancel()
        await asyncio.wait({working, death})
