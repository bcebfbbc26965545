"""One demo from the first download to the last check: bring up, trade, settle, compare, stop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal

from cli.demo.bringup import local_stack, start_services, stop_services, told_to_others
from cli.demo.chain import ChainView, Wealth
from cli.demo.checks import Evidence, checked
from cli.demo.faults import strike_of
from cli.demo.figures import OpenCopy
from cli.demo.follows import planned_follows
from cli.demo.options import Options, Until
from cli.demo.records import Books
from cli.demo.screen import ROWS_SHOWN, Progress, Screen, step
from cli.demo.summary import Struck, Summary, summarised
from cli.demo.tape import Tape
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

KNOWN_WITHIN_S = 2
"""Services are told of new follows at once, and ask by themselves every second."""
USDC_EACH = "500"
SHOW_EVERY_S = 0.25
LOOK_EVERY_S = 1
PAUSED_BETWEEN = (Decimal("0.3"), Decimal("0.6"))
"""Of the leaders' trades: meanwhile one follower is halted."""
MADE_BY = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    leaders: list[str]
    proxies: list[str]
    tokens: list[str]


class Demo:
    """State of one run. ``stop`` ends the trading early, and everything is settled and checked all
    the same.
    """

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
            return await unless_a_part_dies(stack.supervisor, lambda: self._run_on(stack))

    async def _run_on(self, stack: LocalStack) -> Summary:
        async with AsyncExitStack() as open_until_done:
            self._screen.begin("paper venue, its contracts, topics and tables")
            self._pipeline = await open_until_done.enter_async_context(
                LocalPipeline(stack, self._options.folder)
            )
            self._screen.done("paper venue, its contracts, topics and tables")
            engine = self._pipeline.engine()
            open_until_done.push_async_callback(engine.dispose)
            self._books = Books(engine)
            await self._require_empty()
            rpc = await open_until_done.enter_async_context(ChainClient(Rpc(stack.rpc_url)))
            self._chain = ChainView(rpc, first_block=(await rpc.fetch_latest_block()).number)
            self._tape = await open_until_done.enter_async_context(
                Tape(self._pipeline.kafka_settings())
            )
            self._engine = engine
            open_until_done.push_async_callback(self._stop_services)
            parties, urls = await self._start()
            await open_until_done.enter_async_context(
                told_to_others(stack, stack.settings.folder, urls)
            )
            return await self._copy(parties)

    async def _start(self) -> tuple[Parties, dict[str, str]]:
        """Services and followers; executor waits for the followers' keys. Returns once everybody
        knows of the follows.
        """
        others = [name for name in SERVICES if name != "executor"]
        parties, urls = await asyncio.gather(
            self._follow(), start_services(self._pipeline, self._screen, others)
        )
        told_at = time.monotonic_ns()
        urls |= await start_services(self._pipeline, self._screen, ["executor"])
        await asyncio.sleep(max(0, KNOWN_WITHIN_S - (time.monotonic_ns() - told_at) // 10**9))
        return parties, urls

    async def _stop_services(self) -> None:
        with step(self._screen, "stopped"):
            await stop_services(self._pipeline)

    async def _require_empty(self) -> None:
        """Raises: StackError: an old run's figures would be counted as this one's."""
        if await self._books.size():
            raise StackError(
                "DATABASE_URL: the database holds copies already, and the demo counts from zero: give it an empty database"
            )

    async def _follow(self) -> Parties:
        with step(self._screen, f"{self._options.followers} followers with {USDC_EACH} USDC each"):
            accounts = await self._pipeline.create_followers(
                self._options.followers, usdc=USDC_EACH
            )
            world = await self._pipeline.venue.fetch_world()
            parties = Parties(
                leaders=list(world["leaders"]),
                proxies=[account.proxy for account in accounts],
                tokens=[token for market in world["markets"] for token in market["token_ids"]],
            )
            follows = planned_follows(parties.leaders, parties.proxies)
            await save_follows(
                self._engine, follows, by=MADE_BY, change=f"{len(follows)} follows of the demo"
            )
        return parties

    async def _copy(self, parties: Parties) -> Summary:
        before = await self._chain.wealth(parties.proxies, parties.tokens)
        self._mark("ready")
        struck = await self._trade_struck(parties)
        self._mark("traded")
        await self._settle()
        await self._halt()
        self._mark("settled")
        return await self._summarise(parties, before, struck)

    async def _trade_struck(self, parties: Parties) -> Struck | None:
        """With the fault of this run on until the last trade is made: what is open then can be
        resolved.
        """
        fault, venue = self._options.fault, self._pipeline.venue
        if fault is None:
            await self._trade(parties)
            return None
        strike = strike_of(fault)
        await venue.change_faults({fault.value: strike.model_dump(mode="json")})
        await self._trade(parties)
        times = int((await venue.fetch_faults())["struck"][fault.value])
        await venue.change_faults({fault.value: None})
        return Struck(fault=fault.value, share=strike.share, seconds=strike.seconds, times=times)

    async def _trade(self, parties: Parties) -> None:
        self.trading, self._phase = True, "trading"
        venue = self._pipeline.venue
        await venue.start_leaders(
            trades=self._options.leader_trades, per_second=str(self._options.per_second)
        )
        pausing = Pause(follower_scope(parties.proxies[-1]), trades=self._options.trades)
        try:
            while not self._stop.is_set() and (stats := await venue.fetch_stats())["trading"]:
                self._tape.check()
                if (mode := pausing.change(int(stats["leader_trades"]))) is not None:
                    await save_mode(self._engine, pausing.scope, mode, by=MADE_BY)
                self._show(int(stats["leader_trades"]))
                await asyncio.sleep(SHOW_EVERY_S)
        finally:
            self.trading = False
        await venue.stop_leaders()

    async def _settle(self) -> None:
        """Until nothing is open, or the time is over."""
        self._phase = "settling"
        made = int((await self._pipeline.venue.fetch_stats())["leader_trades"])
        deadline = time.monotonic_ns() + self._options.settle_within_s * 10**9
        while any(await self._open(made)) and time.monotonic_ns() < deadline:
            for _ in range(4):
                self._show(made)
                await asyncio.sleep(SHOW_EVERY_S)
        await self._tape.catch_up()

    async def _halt(self) -> None:
        """So that nothing moves while it is counted: what an exit has left over would go around
        again.
        """
        await save_mode(self._engine, GLOBAL, Mode.HALTED, by=MADE_BY)
        await asyncio.sleep(KNOWN_WITHIN_S)
        await self._settle()

    async def _open(self, made: int) -> tuple[tuple[OpenCopy, ...], list[str]]:
        """The copies that are not final, and in words what else is not done."""
        seen = await self._books.trades_seen()
        # A feed that a fault strikes may miss trades: then it is enough that the other one does
        # not.
        wanted = seen if self._options.fault is None else {"any": set().union(*seen.values())}
        by_feed = [
            f"{made - len(ids)} leader trades were not seen by the {feed} feed"
            for feed, ids in wanted.items()
            if len(ids) < made
        ]
        copies = await self._books.open_copies()
        named = {copy.intent_id for copy in copies}
        pending = {
            intent_id: state
            for intent_id, state in self._tape.copies.pending().items()
            if intent_id not in named
        }
        return copies, by_feed + [
            f"intent {intent_id} is {state}, by the topics" for intent_id, state in pending.items()
        ]

    async def _summarise(self, parties: Parties, before: Wealth, struck: Struck | None) -> Summary:
        stats = await self._pipeline.venue.fetch_stats()
        orders = await self._books.orders(self._tape.copies.quoted_at)
        after = await self._chain.wealth(parties.proxies, parties.tokens)
        made, copies = int(stats["leader_trades"]), self._tape.copies
        seen = await self._books.trades_seen()
        open_copies, unfinished = await self._open(made)
        evidence = Evidence(
            leader_trades_made=made,
            leader_trades_on_chain=await self._chain.leader_trades(parties.leaders),
            leader_trades_seen=frozenset(set().union(*seen.values())),
            intents=frozenset(copies.intents),
            verdicts=copies.verdicts,
            verdicts_kept=await self._books.verdicts(),
            orders=orders,
            venue_matches=int(stats["matched"]) - int(stats["house_matched"]),
            fills_on_chain=await self._chain.filled_orders(parties.proxies),
            positions=await self._books.positions(),
            positions_on_chain=after.shares,
            cash=await self._books.cash(),
            cash_on_chain={
                proxy: after.cash[proxy] - before.cash[proxy] for proxy in parties.proxies
            },
            dead_letters=tuple(self._tape.dead_letters),
            open_copies=open_copies,
            unfinished=tuple(unfinished),
        )
        return summarised(
            orders,
            checked(evidence),
            leader_trades=len(evidence.leader_trades_seen),
            followers=len(parties.proxies),
            copies=copies.counts(),
            refusals=copies.refusals(),
            seconds=self._seconds(),
            open_copies=open_copies,
            fault=struck,
        )

    def _show(self, made: int) -> None:
        copies = self._tape.copies
        if "first copy" not in self._moments and any(
            report.shares for report in copies.reports.values()
        ):
            self._mark("first copy")
        self._screen.show(
            Progress(
                phase=self._phase,
                leader_trades=made,
                asked=self._options.trades if self._options.until is Until.TRADED else None,
                states=copies.counts(),
                refusals=copies.refusals(),
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
    """One follower is halted for a while, and then active again."""

    scope: str
    trades: int
    mode: Mode = Mode.ACTIVE

    def change(self, made: int) -> Mode | None:
        """The mode to set now that so many trades are made; None: leave it."""
        begin, end = (part * self.trades for part in PAUSED_BETWEEN)
        wanted = Mode.HALTED if begin <= made < end else Mode.ACTIVE
        if wanted is self.mode:
            return None
        self.mode = wanted
        return wanted


async def unless_a_part_dies(
    supervisor: Supervisor, work: Callable[[], Awaitable[Summary]]
) -> Summary:
    """Raises: PartDied as soon as one does, also where its end made the work fail."""
    working, death = asyncio.ensure_future(work()), asyncio.create_task(supervisor.first_death())
    try:
        await asyncio.wait({working, death}, return_when=asyncio.FIRST_COMPLETED)
        if working.done() and working.exception() is not None:
            await asyncio.wait({death}, timeout=LOOK_EVERY_S)
        if death.done():
            raise death.result()
        return working.result()
    finally:
        for task in (working, death):
            task.cancel()
        await asyncio.wait({working, death})
