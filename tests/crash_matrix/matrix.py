"""Runs a cell: arm the crash, let the leader trade, wait for the crash, recover, and judge."""

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
from shared.domain.ids import continuation_id
from shared.domain.money import Side
from shared.messages.debts import Creditor, DebtRaised
from shared.streams.partitioning import Partitioner
from shared.streams.producer import Producer
from shared.testing.waiting import eventually
from tests.crash_matrix.boundaries import Boundary
from tests.crash_matrix.cells import PAPER_VENUE_FAULTS, Cell, Finding, Recovery, VenueFault
from tests.crash_matrix.crash_switch import FOLDER_VARIABLE, Crash, CrashSwitch
from tests.crash_matrix.judging import (
    IntentByProxy,
    Problem,
    fetch_trades_at_venue,
    is_final,
    judge,
)
from tests.system.deployment import Deployment, FollowGroup, running_deployment
from tests.system.story import Story, open_story
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
    "EXECUTOR_LEASE_DURATION": "PT5S",
    "EXECUTOR_OVERDUE_AFTER": "PT1S",
    "EXECUTOR_FILLS_WITHIN": "PT1S",
    "EXECUTOR_VERIFY_FOR": "PT2S",
    "PREFLIGHT_EXIT_RETRY_DELAY": "PT15S",
}
"""Partitions move as soon as the broker allows; a copy that waited for that is not refused for its
age. The delay of a remainder leaves time to end the exit and to arm the boundary."""
REACH_TIMEOUT_S = 90
"""Long enough for a busy machine: a service may have to start first."""
FINAL_TIMEOUT_S = 150
ONCE_PER_FOLLOWER = (VenueFault.REPLY_LOST, VenueFault.REPLY_LATE, VenueFault.REMAINDER)
LATE_BY_S = "2"
DEBT_USDC = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    cell: Cell
    problems: tuple[Problem, ...]
    seconds: int

    @property
    def passed(self) -> bool:
        """There are no problems; of a control: the expected one is there."""
        if self.cell.expected_finding is None:
            return not self.problems
        return any(each.finding is self.cell.expected_finding for each in self.problems)


class Matrix:
    """Runs cells on one deployment, one after another. A follow group (a leader and his followers)
    is used until a cell has found a problem in it.
    """

    def __init__(self, deployment: Deployment, switch: CrashSwitch) -> None:
        self._deployment, self._switch = deployment, switch
        self._instance_by_service = dict.fromkeys(SERVICES, 0)
        self._last_instance_by_service: dict[str, int] = defaultdict(int)
        self._intents_by_leader: dict[str, list[IntentByProxy]] = defaultdict(list)
        self._ordering = ""
        self._start_to_crash: asyncio.Task[None] | None = None
        """The start of a service that is to crash before it is ready."""

    @property
    def _supervisor(self) -> Supervisor:
        return self._deployment.pipeline.stack.supervisor

    async def run(self, cell: Cell) -> Result:
        """Raises: IndexError when no follow group is left."""
        group, started_at = self._deployment.follow_groups[0], asyncio.get_running_loop().time()
        try:
            async with open_story(self._deployment, group) as story:
                problems = await self._run_cell(cell, story)
        except Exception as error:  # noqa: BLE001 - this cell has failed, the others are run
            text = f"{type(error).__name__}: {str(error)[:600]}"
            problems = [Problem(finding=Finding.RUN_FAILED, text=text)]
        finally:
            self._switch.disarm()
        if problems:
            self._deployment.follow_groups.popleft()
            await self._restart_all()
        self._deployment.follow_groups.rotate(-1)
        return Result(
            cell=cell,
            problems=tuple(problems),
            seconds=round(asyncio.get_running_loop().time() - started_at),
        )

    async def _run_cell(self, cell: Cell, story: Story) -> list[Problem]:
        if cell.ordering != self._ordering:
            self._switch.set_ordering(cell.ordering)
            await self._restart("executor")
            self._ordering = cell.ordering
        if cell.boundary.point.service == "debt-recovery":
            return await self._run_with_debt(cell, story)
        try:
            return await self._run_with_copies(cell, story)
        finally:
            if fault := PAPER_VENUE_FAULTS.get(cell.venue_fault):
                await story.venue.change_faults({fault: None})

    async def _switch_on_venue_fault(self, cell: Cell, story: Story) -> None:
        """For an exit, and for a lost or late reply, it strikes once for each follower: later
        orders are handled as usual.
        """
        if fault := PAPER_VENUE_FAULTS.get(cell.venue_fault):
            once = (
                {"times": len(story.group.followers)}
                if cell.venue_fault in ONCE_PER_FOLLOWER
                else {}
            )
            seconds = LATE_BY_S if fault in (Fault.LATE_REPLY, Fault.FAILED) else "0"
            await story.venue.change_faults({fault: {"seconds": seconds, **once}})

    async def _run_with_copies(self, cell: Cell, story: Story) -> list[Problem]:
        intended = self._intents_by_leader[story.group.leader]
        intents = (
            await self._make_remainders(cell, story)
            if cell.venue_fault is VenueFault.REMAINDER
            else None
        )
        trades_before = len(await fetch_trades_at_venue(story, story.group.followers[0]))
        self._arm(cell.first_crash, story.group)
        if intents is None:
            await self._switch_on_venue_fault(cell, story)
            intents = story.intent_ids(await story.make_leader_trade(Side.BUY, "20"))
        intended.append(intents)

        async def all_final() -> bool:
            return await is_final(story, intents)

        crashed = await self._wait_for_crash()
        if crashed is not None and cell.boundary.point.at_start:
            crashed = await self._crash_again_at_start(cell, story, crashed)
        if crashed is None:
            await self._wait_until_finished(all_final)
            return [
                Problem(finding=Finding.NOT_REACHED, text=f"within {REACH_TIMEOUT_S} s"),
                *await judge(story, intended, expected_outcome=cell.expected_outcome),
            ]
        problems = await self._check_orders_at_venue(cell, story, trades_before)
        if not await self._recover(cell, crashed, all_final):
            problems.append(Problem(finding=Finding.UNRESOLVED, text=f"within {FINAL_TIMEOUT_S} s"))
        return problems + await judge(story, intended, expected_outcome=cell.expected_outcome)

    async def _make_remainders(self, cell: Cell, story: Story) -> IntentByProxy:
        """Buy, and sell in part; return the intents of the remainders, not yet published."""
        await self._copy_until_final(Side.BUY, "100", story)
        await self._switch_on_venue_fault(cell, story)
        exits = await self._copy_until_final(Side.SELL, "60", story)
        return {proxy: continuation_id(intent, 1) for proxy, intent in exits.items()}

    async def _copy_until_final(self, side: Side, usdc: str, story: Story) -> IntentByProxy:
        """Let a trade of the leader be copied while nothing is armed."""
        intents = story.intent_ids(await story.make_leader_trade(side, usdc))
        self._intents_by_leader[story.group.leader].append(intents)
        await eventually(
            lambda: is_final(story, intents), within=FINAL_TIMEOUT_S, what=f"the {side} copied"
        )
        return intents

    async def _run_with_debt(self, cell: Cell, story: Story) -> list[Problem]:
        debt = f"debt:{cell.name}"
        proxy = story.group.followers[0].proxy
        raised = DebtRaised(
            message_id=debt,
            occurred_at=utc_now(),
            proxy=proxy,
            debt_id=debt,
            intent_id=debt,
            creditor=Creditor.OPERATOR,
            usdc=DEBT_USDC,
            reason="raised by the crash matrix",
        )
        self._arm((cell.boundary, cell.crash_signal), story.group)
        async with Producer(self._deployment.pipeline.kafka_settings()) as producer:
            await producer.publish(raised)

        async def recorded() -> bool:
            return bool(
                await story.fetch_rows(
                    "select * from debt_recovery.debts where debt_id = :id", id=debt
                )
            )

        if (crashed := await self._wait_for_crash()) is None:
            return [Problem(finding=Finding.NOT_REACHED, text=f"within {REACH_TIMEOUT_S} s")]
        if not await self._recover(cell, crashed, recorded):
            return [Problem(finding=Finding.LOST, text="the debt was not recorded")]
        debts = await story.fetch_rows(
            "select * from debt_recovery.debts where debt_id = :id", id=debt
        )
        amounts = [(row.usdc, row.proxy) for row in debts]
        if amounts == [(DEBT_USDC, proxy)]:
            return []
        return [Problem(finding=Finding.RECORDS, text=f"the debt is recorded as {amounts}")]

    def _arm(self, crash: tuple[Boundary, signal.Signals], group: FollowGroup) -> None:
        boundary, crash_signal = crash
        key = group.leader if boundary.point.by == "leader" else group.followers[0].proxy
        partition = Partitioner().partition(
            key.encode(), self._deployment.pipeline.kafka_settings().partitions
        )
        self._switch.arm(
            Crash(
                boundary=boundary.name,
                keys=frozenset({key.lower(), str(partition)}),
                signal=crash_signal,
            )
        )

    async def _wait_for_crash(self) -> Running | None:
        """The process that was killed or stopped at the boundary; None: it was not reached."""
        try:
            pid = await eventually(
                self._switch.crashed_pid, within=REACH_TIMEOUT_S, what="the boundary reached"
            )
        except AssertionError:
            return None
        return next(part for part in self._supervisor.running if part.pid == pid)

    async def _crash_again_at_start(
        self, cell: Cell, story: Story, dead: Running
    ) -> Running | None:
        """The process that replaced the dead one and crashed at the boundary while starting."""
        service = cell.boundary.point.service
        await self._kill(dead)
        self._arm((cell.boundary, cell.crash_signal), story.group)
        self._start_to_crash = asyncio.create_task(self._start_until_crash(service))
        return await self._wait_for_crash()

    async def _start_until_crash(self, service: str) -> None:
        with suppress(PartDied):
            await self._deployment.start(service, instance=self._instance_by_service[service])

    async def _check_orders_at_venue(self, cell: Cell, story: Story, before: int) -> list[Problem]:
        """Whether the service died at the boundary: what it had sent by then is at the venue."""
        if (expected := cell.boundary.orders_at_venue) is None:
            return []
        now = before

        async def as_expected() -> bool:
            nonlocal now
            now = len(await fetch_trades_at_venue(story, story.group.followers[0]))
            return now == before + expected

        with suppress(AssertionError):
            await eventually(as_expected, within=60, what="the orders of the boundary at the venue")
            return []
        text = f"the venue has {now - before} orders of the armed follower after the crash"
        return [Problem(finding=Finding.NOT_REACHED, text=f"{text}, not {expected}")]

    async def _recover(
        self, cell: Cell, crashed: Running, finished: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Recover as the cell says; return whether the work was finished in time."""
        service = cell.boundary.point.service
        if cell.recovery is not Recovery.ZOMBIE:
            await self._kill(crashed)
        same, new = (
            self._instance_by_service[service],
            self._last_instance_by_service[service] + 1,
        )
        await self._start(service, instance=same if cell.recovery is Recovery.RESTART else new)
        done = await self._wait_until_finished(finished)
        if cell.recovery is Recovery.ZOMBIE:
            await self._resume(crashed)
        return done and await finished()

    async def _resume(self, zombie: Running) -> None:
        """Let it do what it was about to do. Once it is back in its consumer group it is asked to
        stop, and finishes its work before it ends.
        """
        zombie.signal(signal.SIGCONT)
        assert zombie.part.ready is not None
        ready = zombie.part.ready

        async def is_back() -> bool:
            return not zombie.is_alive or await ready()

        await eventually(
            is_back, within=REACH_TIMEOUT_S, what=f"{zombie.name} back in its group, or ended"
        )
        await self._deployment.background.run_async(self._supervisor.stop(zombie))

    async def _wait_until_finished(self, finished: Callable[[], Awaitable[bool]]) -> bool:
        with suppress(AssertionError):
            await eventually(finished, within=FINAL_TIMEOUT_S, what="everything final")
            return True
        return False

    async def _restart(self, service: str) -> None:
        instance = self._instance_by_service[service]
        await self._kill(self._deployment.pipeline.running[instance_name(service, instance)])
        await self._start(service, instance=instance)

    async def _kill(self, running: Running) -> None:
        await self._deployment.background.run_async(self._supervisor.kill(running))

    async def _start(self, service: str, *, instance: int) -> None:
        await self._deployment.start(service, instance=instance)
        self._instance_by_service[service] = instance
        self._last_instance_by_service[service] = max(
            instance, self._last_instance_by_service[service]
        )

    async def _restart_all(self) -> None:
        """After a cell with problems any service may be missing or stopped."""
        for part in [part for part in self._supervisor.running if part.name.startswith(SERVICES)]:
            await self._kill(part)
        await asyncio.gather(
            *(
                self._start(service, instance=self._instance_by_service[service])
                for service in SERVICES
            )
        )


def instance_name(service: str, instance: int) -> str:
    return service if instance == 0 else f"{service}-{instance}"


@asynccontextmanager
async def matrix_on(
    folder: Path, background: BackgroundLoop, *, follow_groups: int
) -> AsyncIterator[Matrix]:
    """A deployment whose services can die at every boundary. Blocks are made fast, and slippage is
    not limited in effect: a copy may be late.
    """
    switch_folder = folder / "crash-switch"
    switch_folder.mkdir(parents=True)
    async with running_deployment(
        folder,
        background,
        follow_groups=follow_groups,
        environment={**ENVIRONMENT, FOLDER_VARIABLE: str(switch_folder)},
        launcher=LAUNCHER,
        block_seconds=0.5,
        max_slippage_bps=Decimal(5000),
    ) as deployment:
        yield Matrix(deployment, CrashSwitch(switch_folder))
