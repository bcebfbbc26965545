"""The reports of transfers: each state at least once, whatever Kafka does, and a wallet that nobody
looks after is an error in the log.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from eth_account import Account

from services.tx_monitor.adapters import OperatorKeys, Sender, Tools
from services.tx_monitor.adapters.transfer_reports import TransferReports
from services.tx_monitor.decisions.policy import Policy
from services.tx_monitor.decisions.progress import mark_changed
from services.tx_monitor.decisions.transfers import Transfer
from shared.db.leases import Lease
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.transfers import TransferReported, TransferState
from shared.testing.waiting import eventually
from tests.builders import NOON, OTHER_PROXY
from tests.fakes import Clock, FakeTransfers
from tests.transfers import OPERATOR, a_queued_transfer, an_attempt, begin_with, mine
from tests.unit.tx_monitor.test_sender import FakeLeases, FakeNodes

LEASE = Lease(partition=0, token=1, valid_until=0)


@dataclass
class Topic:
    """Kafka: it may keep the reports of a proxy waiting, or fail."""

    reports: list[TransferReported] = field(default_factory=list)
    open_again: dict[str, asyncio.Event] = field(default_factory=dict)
    """Proxies whose reports wait for this."""
    failures: list[Exception] = field(default_factory=list)
    """What the next publications fail with."""

    async def publish(self, message: Message) -> None:
        assert isinstance(message, TransferReported)
        if self.failures:
            raise self.failures.pop()
        if message.proxy in self.open_again:
            await self.open_again[message.proxy].wait()
        self.reports.append(message)

    def list_states(self, request_id: str) -> list[TransferState]:
        return [each.state for each in self.reports if each.request_id == request_id]


@dataclass
class Reporting:
    tasks: asyncio.TaskGroup
    store: FakeTransfers = field(default_factory=FakeTransfers)
    leases: FakeLeases = field(default_factory=FakeLeases)
    topic: Topic = field(default_factory=Topic)
    reports: TransferReports = field(init=False)

    def __post_init__(self) -> None:
        self.reports = TransferReports(
            OPERATOR, self.store, self.leases, self.topic.publish, now=Clock(NOON)
        )

    async def begin(self, request_id: str = "transfer-1", nonce: int = 7, **terms: str) -> Transfer:
        queued = a_queued_transfer(request_id=request_id, **terms)
        attempt = an_attempt(nonce)
        begun = begin_with(queued, attempt, nonce=nonce)
        await self.store.record(queued, now=NOON)
        await self.store.begin(begun, attempt, lease=LEASE, now=NOON)
        return begun

    async def save(self, transfer: Transfer) -> None:
        await self.store.save(transfer, lease=LEASE, now=NOON)

    async def wait_until_reported(self, request_id: str = "transfer-1") -> None:
        await eventually(lambda: self.store.transfers[request_id].is_reported)


@pytest.fixture
async def reporting() -> AsyncIterator[Reporting]:
    async with asyncio.TaskGroup() as tasks:
        yield Reporting(tasks)


async def test_each_state_is_reported_once_with_a_growing_revision(reporting: Reporting) -> None:
    begun = await reporting.begin()
    await reporting.reports.begin_due(reporting.tasks)
    await reporting.wait_until_reported()
    mined = mine(begun, begun.attempts[0])
    await reporting.save(mined)
    await reporting.reports.begin_due(reporting.tasks)
    await reporting.wait_until_reported()
    await reporting.save(mark_changed(replace(mined, state=TransferState.FINAL)))
    for _ in range(3):
        await reporting.reports.begin_due(reporting.tasks)
    await reporting.wait_until_reported()

    reports = reporting.topic.reports
    assert [each.state for each in reports] == ["sent", "mined", "final"]
    assert [each.revision for each in reports] == sorted({each.revision for each in reports})
    assert len({each.message_id for each in reports}) == 3


async def test_a_report_that_waits_for_kafka_keeps_no_other_waiting(reporting: Reporting) -> None:
    released = asyncio.Event()
    reporting.topic.open_again = {OTHER_PROXY: released}
    await reporting.begin("slow", proxy=OTHER_PROXY)
    await reporting.begin("fast", nonce=8)

    for _ in range(3):
        await reporting.reports.begin_due(reporting.tasks)
    await reporting.wait_until_reported("fast")
    assert reporting.topic.list_states("slow") == []
    released.set()
    await reporting.wait_until_reported("slow")

    assert reporting.topic.list_states("slow") == ["sent"]


async def test_a_state_that_changed_while_its_report_waited_is_reported_too(
    reporting: Reporting,
) -> None:
    released = asyncio.Event()
    begun = await reporting.begin(proxy=OTHER_PROXY)
    reporting.topic.open_again = {OTHER_PROXY: released}
    await reporting.reports.begin_due(reporting.tasks)
    await reporting.save(mine(begun, begun.attempts[0]))
    released.set()
    await eventually(lambda: reporting.topic.reports)

    async def report_the_newest() -> bool:
        await reporting.reports.begin_due(reporting.tasks)
        return reporting.store.transfers["transfer-1"].is_reported

    await eventually(report_the_newest)
    assert reporting.topic.list_states("transfer-1") == ["sent", "mined"]


async def test_a_report_that_failed_is_made_by_a_later_round(reporting: Reporting) -> None:
    reporting.topic.failures = [Transient("no broker")]
    await reporting.begin()

    async def report() -> bool:
        await reporting.reports.begin_due(reporting.tasks)
        return reporting.store.transfers["transfer-1"].is_reported

    await eventually(report)
    assert reporting.topic.list_states("transfer-1") == ["sent"]


async def test_what_was_loaded_under_a_lost_lease_is_not_reported(reporting: Reporting) -> None:
    await reporting.begin()
    await reporting.reports.begin_due(reporting.tasks)
    reporting.leases.token += 1  # before the task has run

    async with asyncio.TaskGroup() as later:
        later.create_task(asyncio.sleep(0))

    assert reporting.topic.reports == []


async def test_a_wallet_whose_key_is_not_here_any_more_is_an_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, key = FakeTransfers(), Account.from_key("0x" + "01" * 32)
    await store.record(a_queued_transfer(), now=NOON)
    tools = Tools(
        store=store,
        nodes=FakeNodes(),
        keys=OperatorKeys({key.address: key}),
        leases=FakeLeases(),
        now=Clock(NOON),
        policy=Policy(),
    )
    task = asyncio.create_task(
        Sender(tools, poll_interval=timedelta(milliseconds=1))(Topic().publish)
    )

    with caplog.at_level(logging.ERROR):
        await eventually(lambda: "nobody looks after the transfers" in caplog.text)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert OPERATOR in caplog.text
