"""The rounds of operator wallets: what is sent, recorded and published, whatever fails."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from eth_account import Account

from services.tx_monitor.adapters import OperatorKeys, Sender, Tools
from services.tx_monitor.adapters.nodes import CallReverted, SendAnswers
from services.tx_monitor.decisions.policy import GWEI, Policy
from services.tx_monitor.decisions.progress import build_movement
from services.tx_monitor.decisions.transfers import Transfer
from services.tx_monitor.decisions.views import NodeView
from shared.chain.answers import NoAnswer, NodeRefused
from shared.chain.blocks import Block, Receipt
from shared.chain.send_answers import SendAnswer
from shared.chain.transfer_calls import Call, build_call
from shared.db.leases import Lease, NotLeaseHolder
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.transfers import TransferReported, TransferState
from shared.testing.waiting import eventually
from tests.builders import NOON, OTHER_PROXY, seconds
from tests.fakes import Clock, FakeTransfers
from tests.transfers import a_queued_transfer

ACCOUNTS = [Account.from_key(f"0x{number:064x}") for number in (1, 2)]
ONE, OTHER = (account.address for account in ACCOUNTS)
HEAD = Block(
    number=100, hash="0x" + "64" * 32, parent_hash="0x" + "63" * 32, timestamp=int(NOON.timestamp())
)


@dataclass
class FakeNodes:
    """One node, with money for every wallet; it has what it is sent in its pool."""

    count: int = 1
    sent: list[bytes] = field(default_factory=list)
    reverts: dict[bytes, Exception] = field(default_factory=dict)
    """What estimates of calls with these bytes raise."""
    hanging: set[str] = field(default_factory=set)
    """Operator wallets about which it never answers."""
    is_away: bool = False
    receipts: dict[str, Receipt] = field(default_factory=dict)
    answer: SendAnswer = SendAnswer.ACCEPTED
    awaited: list[set[str]] = field(default_factory=list)
    """The nodes that were waited for, of each transaction."""
    silent: frozenset[str] = frozenset()
    """The nodes that do not answer to a transaction."""
    asked_to_estimate: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    nonces: tuple[int, ...] = (7,)
    """What the nodes count; as many answer."""
    silent_about: set[str] = field(default_factory=set)
    """Operator wallets about which only the first node answers."""
    head: Block = HEAD
    observed: list[str] = field(default_factory=list)
    gas: int = 50_000

    async def observe(self, operator: str, transfers: Sequence[Transfer]) -> list[NodeView]:
        if operator in self.hanging:
            await asyncio.Event().wait()
        if self.is_away:
            return []
        hashes = [each.tx_hash for transfer in transfers for each in transfer.attempts]
        self.observed.append(operator)
        nonces = self.nonces[:1] if operator in self.silent_about else self.nonces
        return [self._build_view(str(n), nonce, hashes) for n, nonce in enumerate(nonces, 1)]

    def _build_view(self, name: str, nonce: int, hashes: Sequence[str]) -> NodeView:
        return NodeView(
            name=name,
            head=self.head,
            finalized=replace(HEAD, number=96, hash="0x" + "60" * 32),
            base_fee=100 * GWEI,
            rewards=(),
            node_tip=None,
            nonce=nonce,
            final_nonce=min(self.nonces),
            gas_balance=10**20,
            receipts={each: self.receipts.get(each) for each in hashes},
            pooled=frozenset(hashes),
            blocks={},
        )

    async def send(self, raw: bytes, *, awaited: Collection[str]) -> SendAnswers:
        self.sent.append(raw)
        self.awaited.append(set(awaited))
        answers = (self.answer,) if awaited and not self.silent else ()
        return SendAnswers(answers=answers, texts=(), silent=self.silent)

    async def estimate_gas(
        self, operator: str, call: Call, *, allowed: int, heads: Mapping[str, int]
    ) -> int:
        self.asked_to_estimate.append((allowed, dict(heads)))
        if call.data in self.reverts:
            raise self.reverts[call.data]
        return self.gas


@dataclass
class FakeLeases:
    token: int = 1
    is_held: bool = True

    def lease_for(self, key: str) -> Lease:
        if not self.is_held:
            raise NotLeaseHolder("another instance holds it")
        return Lease(partition=0, token=self.token, valid_until=0)


@dataclass
class Bench:
    nodes: FakeNodes = field(default_factory=FakeNodes)
    leases: FakeLeases = field(default_factory=FakeLeases)
    store: FakeTransfers = field(default_factory=FakeTransfers)
    now: Clock = field(default_factory=lambda: Clock(NOON))
    published: list[TransferReported] = field(default_factory=list)

    def build_sender(self) -> Sender:
        keys = OperatorKeys({account.address: account for account in ACCOUNTS})
        tools = Tools(
            store=self.store,
            nodes=self.nodes,
            keys=keys,
            leases=self.leases,
            now=self.now,
            policy=Policy(),
        )
        return Sender(tools, poll_interval=timedelta(milliseconds=1))

    async def publish(self, message: Message) -> None:
        assert isinstance(message, TransferReported)
        self.published.append(message)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Sender]:
        sender = self.build_sender()
        task = asyncio.create_task(sender(self.publish))
        try:
            yield sender
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def record(self, *transfers: Transfer) -> None:
        for transfer in transfers:
            await self.store.record(transfer, now=NOON)

    async def wait_for(self, state: TransferState, request_id: str = "transfer-1") -> Transfer:
        await eventually(lambda: self.store.transfers[request_id].state is state)
        return self.store.transfers[request_id]

    async def wait_for_report(self, state: TransferState) -> None:
        await eventually(lambda: state in [each.state for each in self.published])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def build_transfer(
    request_id: str = "transfer-1", operator: str = ONE, **terms: object
) -> Transfer:
    return a_queued_transfer(request_id=request_id, operator=operator, **terms)


async def test_what_is_sent_was_recorded_with_its_nonce_and_is_reported(bench: Bench) -> None:
    await bench.record(build_transfer())

    async with bench.sending():
        sent = await bench.wait_for(TransferState.SENT)
        await bench.wait_for_report(TransferState.SENT)
        await eventually(lambda: bench.nodes.sent)

    assert sent.nonce == 7
    assert [attempt.raw for attempt in sent.attempts] == bench.nodes.sent
    assert [each.state for each in bench.published] == [TransferState.SENT]
    assert bench.store.next_nonces == {ONE: 8}


async def test_a_process_that_restarts_sends_the_recorded_bytes_again(bench: Bench) -> None:
    await bench.record(build_transfer())
    async with bench.sending():
        sent = await bench.wait_for(TransferState.SENT)
        await eventually(lambda: bench.nodes.sent)
    bench.nodes.sent.clear()

    async with bench.sending():
        await eventually(lambda: bench.nodes.sent)

    assert bench.nodes.sent == [sent.attempts[0].raw]
    assert bench.store.transfers["transfer-1"].attempts == sent.attempts


async def test_a_wallet_that_hangs_delays_no_other(bench: Bench) -> None:
    bench.nodes.hanging = {ONE}
    await bench.record(build_transfer(), build_transfer("transfer-2", OTHER, proxy=OTHER_PROXY))

    async with bench.sending():
        await bench.wait_for(TransferState.SENT, "transfer-2")

    assert bench.store.transfers["transfer-1"].state is TransferState.QUEUED


async def test_while_no_node_answers_nothing_begins_and_what_is_known_is_reported(
    bench: Bench,
) -> None:
    bench.nodes.is_away = True
    over = build_transfer("transfer-2", send_before=NOON - seconds(1))
    await bench.record(build_transfer(), over)

    async with bench.sending():
        await bench.wait_for_report(TransferState.EXPIRED)
        assert bench.store.transfers["transfer-1"].state is TransferState.QUEUED
        bench.nodes.is_away = False
        await bench.wait_for(TransferState.SENT)


async def test_what_would_revert_is_refused_and_the_next_one_gets_its_nonce(bench: Bench) -> None:
    refused, other = build_transfer(), build_transfer("transfer-2", proxy=OTHER_PROXY)
    call = build_call(build_movement(refused.terms))
    bench.nodes.reverts = {call.data: CallReverted("InsufficientAllowance")}
    await bench.record(refused, other)

    async with bench.sending():
        ended = await bench.wait_for(TransferState.REFUSED)
        await bench.wait_for_report(TransferState.REFUSED)
        begun = await bench.wait_for(TransferState.SENT, "transfer-2")

    assert "InsufficientAllowance" in ended.reason
    assert begun.nonce == 7


@pytest.mark.parametrize(
    "failure",
    [
        NodeRefused("eth_estimateGas", -32000, "header not found"),
        NoAnswer("no answer from the chain node"),
    ],
)
async def test_one_that_a_node_cannot_estimate_stays_queued_and_holds_up_no_other(
    bench: Bench, failure: Transient
) -> None:
    waiting, other = build_transfer(), build_transfer("transfer-2", proxy=OTHER_PROXY)
    call = build_call(build_movement(waiting.terms))
    bench.nodes.reverts = {call.data: failure}
    await bench.record(waiting, other)

    async with bench.sending():
        await bench.wait_for(TransferState.SENT, "transfer-2")
        assert bench.store.transfers["transfer-1"].state is TransferState.QUEUED
        bench.nodes.reverts = {}
        await bench.wait_for(TransferState.SENT)


async def test_without_the_lease_nothing_is_looked_after(bench: Bench) -> None:
    bench.leases.is_held = False
    await bench.record(build_transfer())

    async with bench.sending():
        for _ in range(100):
            await asyncio.sleep(0)
        assert bench.store.transfers["transfer-1"].state is TransferState.QUEUED
        bench.leases.is_held = True
        await bench.wait_for(TransferState.SENT)


async def test_a_stale_lease_records_sends_and_publishes_nothing(bench: Bench) -> None:
    """The process was paused: by its own clock the lease is valid, and another one is newer."""
    bench.store.newest_tokens = {0: 2}
    await bench.record(build_transfer())

    async with bench.sending():
        for _ in range(100):
            await asyncio.sleep(0)
        assert (bench.nodes.sent, bench.published) == ([], [])
        bench.leases.token = 2
        await bench.wait_for(TransferState.SENT)


async def test_a_receipt_that_cannot_be_read_holds_up_no_other_transfer(bench: Bench) -> None:
    await bench.record(build_transfer())
    async with bench.sending():
        sent = await bench.wait_for(TransferState.SENT)
        tx_hash = sent.attempts[0].tx_hash
        bench.nodes.receipts[tx_hash] = Receipt(
            tx_hash=tx_hash,
            block_number=99,
            block_hash="0x" + "63" * 32,
            succeeded=True,
            gas_used=1,
            logs=({"address": None},),
        )
        await bench.record(build_transfer("transfer-2", proxy=OTHER_PROXY))
        await bench.wait_for(TransferState.SENT, "transfer-2")

    assert bench.store.transfers["transfer-1"].state is TransferState.SENT


async def test_one_that_can_never_be_valid_is_cancelled(bench: Bench) -> None:
    bench.nodes.answer = SendAnswer.INVALID
    await bench.record(build_transfer())

    async with bench.sending():
        cancelling = await bench.wait_for(TransferState.CANCELLING)

    assert [each.kind for each in cancelling.attempts] == ["transfer", "cancel"]


async def test_any_other_failure_ends_the_process(bench: Bench) -> None:
    await bench.record(build_transfer())
    bench.nodes.reverts = {
        build_call(build_movement(build_transfer().terms)).data: RuntimeError("a bug")
    }

    with pytest.raises(ExceptionGroup) as raised:
        await bench.build_sender()(bench.publish)

    assert raised.group_contains(RuntimeError, match="a bug")
