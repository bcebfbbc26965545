"""How is one cell played? Arm, let the leader trade, see the service die, let its work go on, and
judge.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from services.paper_venue.faults.catalogue import Fault
from shared.clock import utc_now
from shared.domain.ids import remainder_id
from shared.domain.money import Side
from shared.messages.debts import Creditor, DebtRaised
from shared.streams.partitioning import Partitioner
from shared.streams.producer import Producer
from shared.testing.waiting import eventually
from tests.crash_matrix.boundaries import Boundary
from tests.crash_matrix.cells import FAULT_BY_VENUE_FAULT, Cell, Finding, Recovery, VenueFault
from tests.crash_matrix.charges import VARIABLE, Charge, Charges
from tests.crash_matrix.judging import Found, Intents, is_final, judge, trades_at_the_venue
from tests.system.deployment import Deployment, FollowGroup, deployed
from tests.system.story import Story, story_in
from tools.pipeline.parts import SERVICES
from tools.stack.background import BackgroundLoop
from tools.stack.errors import PartDied
from tools.stack.supervisor import Running, Supervisor

LAUNCHER = "tests.crash_matrix.launch"
ENVIRONMENT = {
    "KAFKA_SESSION_TIMEOUT_MS": "6000",
    "KAFKA_REVOCATION_TIMEOUT_MS": "2000",
    "PREFLIGHT_MAX_QUOTE_AGE": "PT300S",
    "PREFLIGHT_MAX_ENTRY_AGE": "PT300S",
    "EXECUTOR_LEASE_LASTS": "PT5S",
    "EXECUTOR_OVERDUE_AFTER": "PT1S",
    "EXECUTOR_VERIFY_FOR": "PT2S",
    "EXECUTOR_CONTINUE_AFTER": "PT15S",
}
"""Partitions move as soon as the broker allows; a copy that waited for that is to be made here, not
to be refused for its age. What an exit leaves over waits until the exit is over, and the boundary
armed."""
REACHED_WITHIN = 90
"""Seconds, on a machine that has much else to do: a service may have to start first."""
FINAL_WITHIN = 150
ONCE_EACH = (VenueFault.REPLY_LOST, VenueFault.REPLY_LATE, VenueFault.REST_OF_EXIT)
LATE_BY_S = "2"
DEBT_USDC = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    cell: Cell
    found: tuple[Found, ...]
    seconds: int

    @property
    def passed(self) -> bool:
        """Nothing was found; of a control: what must be found was."""
        if self.cell.must_find is None:
            return not self.found
        return any(found.finding is self.cell.must_find for found in self.found)


class Matrix:
    """Cells on one deployment, one after another. A circle serves until a cell has found something
    in it.
    """

    def __init__(self, deployment: Deployment, charges: Charges) -> None:
        self._deployment, self._charges = deployment, charges
        self._running = dict.fromkeys(SERVICES, 0)
        self._started: dict[str, int] = defaultdict(int)
        self._intended: dict[str, list[Intents]] = defaultdict(list)
        self._ordering = ""
        self._doomed: asyncio.Task[None] | None = None
        """Start of a service that dies, or stands still, before it is ready."""

    @property
    def _supervisor(self) -> Supervisor:
        return self._deployment.pipeline.stack.supervisor

    async def play(self, cell: Cell) -> Result:
        """Raises: IndexError when all circles are spoilt."""
        circle, began = self._deployment.follow_groups[0], asyncio.get_running_loop().time()
        try:
            async with story_in(self._deployment, circle) as story:
                found = await self._played(cell, story)
        except Exception as error:  # noqa: BLE001 - the other cells are to be played all the same; this one has failed
            found = [
                Found(finding=Finding.BROKEN, text=f"{type(error).__name__}: {str(error)[:600]}")
            ]
        finally:
            self._charges.disarm()
        if found:
            self._deployment.follow_groups.popleft()
            await self._begin_anew()
        self._deployment.follow_groups.rotate(-1)
        return Result(
            cell=cell, found=tuple(found), seconds=round(asyncio.get_running_loop().time() - began)
        )

    async def _played(self, cell: Cell, story: Story) -> list[Found]:
        if cell.ordering != self._ordering:
            self._charges.choose_ordering(cell.ordering)
            await self._restart("executor")
            self._ordering = cell.ordering
        if cell.boundary.point.service == "debt-recovery":
            return await self._with_a_debt(cell, story)
        try:
            return await self._with_a_copy(cell, story)
        finally:
            if fault := FAULT_BY_VENUE_FAULT.get(cell.venue_fault):
                await story.venue.change_faults({fault: None})

    async def _weather(self, cell: Cell, story: Story) -> None:
        """Of an exit, and where an answer is lost or late, it comes once for each follower: what is
        sent then is dealt with as usual.
        """
        if fault := FAULT_BY_VENUE_FAULT.get(cell.venue_fault):
            once = {"times": len(story.group.followers)} if cell.venue_fault in ONCE_EACH else {}
            seconds = LATE_BY_S if fault in (Fault.LATE_REPLY, Fault.FAILED) else "0"
            await story.venue.change_faults({fault: {"seconds": seconds, **once}})

    async def _with_a_copy(self, cell: Cell, story: Story) -> list[Found]:
        intended = self._intended[story.group.leader]
        intents = (
            await self._rest_of_an_exit(cell, story)
            if cell.venue_fault is VenueFault.REST_OF_EXIT
            else None
        )
        before = len(await trades_at_the_venue(story, story.group.followers[0]))
        self._arm(cell.first, story.group)
        if intents is None:
            await self._weather(cell, story)
            intents = story.intents(await story.trades(Side.BUY, "20"))
        intended.append(intents)

        async def all_final() -> bool:
            return await is_final(story, intents)

        victim = await self._victim()
        if victim is not None and cell.boundary.point.at_start:
            victim = await self._victim_at_start(cell, story, victim)
        if victim is None:
            await self._final(all_final)
            return [
                Found(finding=Finding.NOT_REACHED, text=f"within {REACHED_WITHIN} s"),
                *await judge(story, intended, outcome=cell.outcome),
            ]
        found = await self._died_elsewhere(cell, story, before)
        if not await self._recovered(cell, victim, all_final):
            found.append(Found(finding=Finding.UNRESOLVED, text=f"within {FINAL_WITHIN} s"))
        return found + await judge(story, intended, outcome=cell.outcome)

    async def _rest_of_an_exit(self, cell: Cell, story: Story) -> Intents:
        """Bought, and sold in part: the intents of what is left, of which the executor has not told
        yet.
        """
        await self._copied(Side.BUY, "100", story)
        await self._weather(cell, story)
        exits = await self._copied(Side.SELL, "60", story)
        return {proxy: remainder_id(intent) for proxy, intent in exits.items()}

    async def _copied(self, side: Side, usdc: str, story: Story) -> Intents:
        """To the end, while nothing dies."""
        intents = story.intents(await story.trades(side, usdc))
        self._intended[story.group.leader].append(intents)
        await eventually(
            lambda: is_final(story, intents), within=FINAL_WITHIN, what=f"the {side} copied"
        )
        return intents

    async def _with_a_debt(self, cell: Cell, story: Story) -> list[Found]:
        debt = f"debt:{cell.name}"
        settings, proxy = (
            self._deployment.pipeline.kafka_settings(),
            story.group.followers[0].proxy,
        )
        raised = DebtRaised(
            message_id=debt,
            occurred_at=utc_now(),
            proxy=proxy,
            debt_id=debt,
            intent_id=debt,
            creditor=Creditor.OPERATOR,
            usdc=DEBT_USDC,
            reason="the matrix says so",
        )
        self._arm((cell.boundary, cell.strikes_by), story.group)
        async with Producer(settings) as producer:
            await producer.publish(raised)

        async def recorded() -> bool:
            return bool(
                await story.rows("select * from debt_recovery.debts where debt_id = :id", id=debt)
            )

        if (victim := await self._victim()) is None:
            return [Found(finding=Finding.NOT_REACHED, text=f"within {REACHED_WITHIN} s")]
        if not await self._recovered(cell, victim, recorded):
            return [Found(finding=Finding.LOST, text="the debt is not in the books")]
        debts = await story.rows("select * from debt_recovery.debts where debt_id = :id", id=debt)
        kept = [(row.usdc, row.proxy) for row in debts]
        return (
            []
            if kept == [(DEBT_USDC, proxy)]
            else [Found(finding=Finding.BOOKS, text=f"the debt stands as {kept}")]
        )

    def _arm(self, charge: tuple[Boundary, signal.Signals], circle: FollowGroup) -> None:
        boundary, number = charge
        key = circle.leader if boundary.point.by == "leader" else circle.followers[0].proxy
        partition = Partitioner().partition(
            key.encode(), self._deployment.pipeline.kafka_settings().partitions
        )
        self._charges.arm(
            Charge(
                boundary=boundary.name, keys=frozenset({key.lower(), str(partition)}), signal=number
            )
        )

    async def _victim(self) -> Running | None:
        """The process that died, or stands still, at the boundary."""
        try:
            pid = await eventually(
                self._charges.victim, within=REACHED_WITHIN, what="the boundary reached"
            )
        except AssertionError:
            return None
        return next(part for part in self._supervisor.running if part.pid == pid)

    async def _victim_at_start(self, cell: Cell, story: Story, dead: Running) -> Running | None:
        """What was started in the dead one's place, and came to the boundary before it was ready."""
        service = cell.boundary.point.service
        await self._kill(dead)
        self._arm((cell.boundary, cell.strikes_by), story.group)
        self._doomed = asyncio.create_task(self._start_doomed(service))
        return await self._victim()

    async def _start_doomed(self, service: str) -> None:
        with suppress(PartDied):
            await self._deployment.start(service, instance=self._running[service])

    async def _died_elsewhere(self, cell: Cell, story: Story, before: int) -> list[Found]:
        """By what the venue has: bytes that were sent are there, others are not."""
        if (expected := cell.boundary.orders_at_the_venue) is None:
            return []
        there = before

        async def as_expected() -> bool:
            nonlocal there
            there = len(await trades_at_the_venue(story, story.group.followers[0]))
            return there == before + expected

        with suppress(AssertionError):
            await eventually(as_expected, within=10, what="the orders of the boundary at the venue")
            return []
        text = f"the venue has {there - before} orders of the armed follower when the service is dead, not {expected}"
        return [Found(finding=Finding.NOT_REACHED, text=text)]

    async def _recovered(
        self, cell: Cell, victim: Running, finished: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Whether the work was finished in time."""
        service = cell.boundary.point.service
        if cell.recovery is not Recovery.ZOMBIE:
            await self._kill(victim)
        same = self._running[service]
        await self._start(
            service,
            instance=same if cell.recovery is Recovery.RESTART else self._started[service] + 1,
        )
        done = await self._final(finished)
        if cell.recovery is Recovery.ZOMBIE:
            await self._resume(victim)
        return done and await finished()

    async def _resume(self, zombie: Running) -> None:
        """What it was about to do, it does; it is asked to stop once it is back in its group, and
        finishes what it runs before it ends.
        """
        zombie.signal(signal.SIGCONT)
        assert zombie.part.ready is not None
        ready = zombie.part.ready

        async def is_back() -> bool:
            return not zombie.is_alive or await ready()

        await eventually(
            is_back, within=REACHED_WITHIN, what=f"{zombie.name} back in its group, or ended"
        )
        await self._deployment.background.run_async(self._supervisor.stop(zombie))

    async def _final(self, finished: Callable[[], Awaitable[bool]]) -> bool:
        with suppress(AssertionError):
            await eventually(finished, within=FINAL_WITHIN, what="the last word")
            return True
        return False

    async def _restart(self, service: str) -> None:
        instance = self._running[service]
        await self._kill(self._deployment.pipeline.running[_full_name(service, instance)])
        await self._start(service, instance=instance)

    async def _kill(self, running: Running) -> None:
        await self._deployment.background.run_async(self._supervisor.kill(running))

    async def _start(self, service: str, *, instance: int) -> None:
        await self._deployment.start(service, instance=instance)
        self._running[service] = instance
        self._started[service] = max(instance, self._started[service])

    async def _begin_anew(self) -> None:
        """After a cell that found something: what runs may be anything, or stand still."""
        for part in [part for part in self._supervisor.running if part.name.startswith(SERVICES)]:
            await self._kill(part)
        await asyncio.gather(
            *(self._start(service, instance=self._running[service]) for service in SERVICES)
        )


def _full_name(service: str, instance: int) -> str:
    return service if instance == 0 else f"{service}-{instance}"


@asynccontextmanager
async def matrix_on(
    folder: Path, background: BackgroundLoop, *, circles: int
) -> AsyncIterator[Matrix]:
    """A deployment whose services can die at every boundary. Blocks come fast, and a copy is made
    at any price that a delay may lead to.
    """
    charges = folder / "charges"
    charges.mkdir(parents=True)
    async with deployed(
        folder,
        background,
        circles=circles,
        environment={**ENVIRONMENT, VARIABLE: str(charges)},
        launcher=LAUNCHER,
        block_seconds=0.5,
        max_slippage_bps=Decimal(5000),
    ) as deployment:
        yield Matrix(deployment, Charges(charges))
