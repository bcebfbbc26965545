"""The rounds of an operator wallet whose nodes differ, hang or stand still."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from services.tx_monitor.adapters.transfer_store import NotBegun
from services.tx_monitor.adapters.wallet_round import MAX_UNANSWERED
from services.tx_monitor.adapters.wallet_tools import Memory
from services.tx_monitor.decisions.progress import build_movement
from services.tx_monitor.decisions.transfers import Attempt, Transfer
from shared.chain.answers import NoAnswer
from shared.chain.blocks import Receipt
from shared.chain.transfer_calls import MAX_COLLATERAL_GAS, build_call
from shared.messages.transfers import TransferState
from shared.observe.labels import name_wallet
from shared.observe.metrics import REGISTRY
from shared.testing.waiting import eventually
from tests.builders import NOON, OTHER_PROXY, seconds
from tests.fakes import FakeTransfers
from tests.unit.tx_monitor.test_sender import HEAD, ONE, OTHER, Bench, build_transfer

OLDER = "0x" + "63" * 32


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def wait_for_rounds(bench: Bench, count: int = 6) -> None:
    """Wait until the nodes were asked so often again."""
    already = len(bench.nodes.observed)
    await eventually(lambda: len(bench.nodes.observed) >= already + count)


def read_gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"slipstream_{name}", labels)


def list_warnings(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    messages = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    return [each for each in messages if text in each]


async def test_while_nodes_count_differently_no_nonce_is_taken(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Invariant I13: one that is too high would leave a gap that nothing closes."""
    bench.nodes.count, bench.nodes.nonces = 2, (7, 9)
    await bench.record(build_transfer())

    async with bench.sending():
        await wait_for_rounds(bench)
        assert bench.store.transfers["transfer-1"].state is TransferState.QUEUED
        bench.nodes.nonces = (9, 9)
        sent = await bench.wait_for(TransferState.SENT)

    assert sent.nonce == 9
    assert len(list_warnings(caplog, f"operator wallet {ONE}: nothing is begun")) == 1


async def test_a_count_that_is_explained_by_what_was_signed_holds_up_nothing(bench: Bench) -> None:
    bench.nodes.count, bench.nodes.nonces = 2, (7, 9)
    bench.store.next_nonces = {ONE: 9}
    await bench.record(build_transfer())

    async with bench.sending():
        assert (await bench.wait_for(TransferState.SENT)).nonce == 9


class WithoutFirst(FakeTransfers):
    """In which one transfer cannot begin."""

    async def begin(self, transfer: Transfer, attempt: Attempt, **arguments: Any) -> None:
        if transfer.terms.request_id == "transfer-1":
            raise NotBegun("another one of its proxy is open")
        await super().begin(transfer, attempt, **arguments)


async def test_one_that_cannot_be_recorded_as_begun_holds_up_no_other() -> None:
    bench = Bench(store=WithoutFirst())
    await bench.record(build_transfer(), build_transfer("transfer-2", proxy=OTHER_PROXY))

    async with bench.sending():
        await bench.wait_for(TransferState.SENT, "transfer-2")

    assert bench.store.transfers["transfer-1"].state is TransferState.QUEUED


@pytest.mark.parametrize(("needed", "limit"), [(60_000, 75_000), (110_000, MAX_COLLATERAL_GAS)])
async def test_gas_is_estimated_by_nodes_that_are_up_to_date_with_a_margin(
    bench: Bench, needed: int, limit: int
) -> None:
    bench.nodes.gas = needed
    await bench.record(build_transfer())

    async with bench.sending():
        sent = await bench.wait_for(TransferState.SENT)

    assert bench.nodes.asked_to_estimate == [(MAX_COLLATERAL_GAS, {"1": HEAD.number})]
    assert sent.attempts[0].gas == limit


async def test_a_round_does_not_wait_for_nodes_once_for_each_queued_transfer(
    bench: Bench,
) -> None:
    """What is open waits for the end of the round."""
    queued = [
        build_transfer(f"transfer-{number}", proxy=f"0x{number:040x}")
        for number in range(1, 3 * MAX_UNANSWERED)
    ]
    calls = [build_call(build_movement(each.terms)) for each in queued]
    bench.nodes.reverts = {call.data: NoAnswer("no answer in time") for call in calls}
    await bench.record(*queued)

    async with bench.sending():
        await wait_for_rounds(bench)
        asked, rounds = len(bench.nodes.asked_to_estimate), len(bench.nodes.observed)
        assert MAX_UNANSWERED <= asked <= MAX_UNANSWERED * rounds
        bench.nodes.reverts = {}
        await bench.wait_for(TransferState.SENT, queued[0].terms.request_id)


async def test_only_nodes_that_answered_in_this_round_are_waited_for(bench: Bench) -> None:
    bench.nodes.count = 2
    await bench.record(build_transfer())

    async with bench.sending():
        await eventually(lambda: bench.nodes.sent)

    assert bench.nodes.awaited == [{"1"}]


async def test_a_node_that_does_not_answer_to_a_transaction_holds_up_one_in_a_round(
    bench: Bench,
) -> None:
    bench.nodes.count, bench.nodes.nonces, bench.nodes.silent = 2, (7, 7), frozenset({"2"})
    await bench.record(build_transfer(), build_transfer("transfer-2", proxy=OTHER_PROXY))

    async with bench.sending():
        await eventually(lambda: len(bench.nodes.sent) == 2)

    assert bench.nodes.awaited == [{"1", "2"}, {"1"}]


class SecondFirst(FakeTransfers):
    """In which the states of two transfers are saved in the other order."""

    def __init__(self) -> None:
        super().__init__()
        self.is_second_saved = asyncio.Event()

    async def save(self, transfer: Transfer, **arguments: Any) -> None:
        if transfer.terms.request_id == "transfer-1":
            await self.is_second_saved.wait()
        await super().save(transfer, **arguments)
        self.is_second_saved.set()


async def test_the_states_of_several_transfers_move_at_once() -> None:
    bench = Bench(store=SecondFirst())
    await bench.record(build_transfer(), build_transfer("transfer-2", proxy=OTHER_PROXY))
    async with bench.sending():
        sent = [await bench.wait_for(TransferState.SENT, f"transfer-{n}") for n in (1, 2)]
        hashes = [each.attempts[0].tx_hash for each in sent]
        bench.nodes.receipts = {each: build_reverted(each) for each in hashes}
        await bench.wait_for(TransferState.REVERTED)


def build_reverted(tx_hash: str) -> Receipt:
    return Receipt(
        tx_hash=tx_hash,
        block_number=99,
        block_hash=OLDER,
        succeeded=False,
        gas_used=1,
        logs=(),
    )


async def test_a_transfer_is_lost_only_while_the_chain_grows(bench: Bench) -> None:
    await bench.record(build_transfer())
    async with bench.sending():
        await bench.wait_for(TransferState.SENT)
        bench.nodes.nonces = (8,)
        await wait_for_rounds(bench, 10)
        assert bench.store.transfers["transfer-1"].state is TransferState.SENT

        bench.nodes.head = replace(HEAD, number=101)
        await wait_for_rounds(bench)
        bench.nodes.head = replace(HEAD, number=102)
        await bench.wait_for(TransferState.LOST)


async def test_what_nodes_say_of_two_wallets_is_logged_by_wallet(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be logged in every round if each wallet's concerns took the place of the other's."""
    bench.nodes.count, bench.nodes.nonces, bench.nodes.silent_about = 2, (7, 7), {OTHER}
    await bench.record(build_transfer(), build_transfer("transfer-2", OTHER, proxy=OTHER_PROXY))

    async with bench.sending():
        await wait_for_rounds(bench, 20)

    assert set(bench.nodes.observed) == {ONE, OTHER}
    (warning,) = list_warnings(caplog, "did not answer")
    assert OTHER in warning


def test_what_was_logged_of_a_transfer_is_forgotten_when_it_is_not_followed_any_more() -> None:
    memory, followed = Memory(), replace(build_transfer(), state=TransferState.SENT)
    for subject in ("transfer-1", "transfer-0", "0xabc"):
        assert memory.changes.is_new(subject, "the fees are at their cap")

    memory.keep_only([followed])

    assert not memory.changes.is_new("transfer-1", "the fees are at their cap")
    for subject in ("transfer-0", "0xabc"):
        assert memory.changes.is_new(subject, "the fees are at their cap")


async def test_figures_of_a_wallet_are_served_only_where_its_lease_is_held(bench: Bench) -> None:
    await bench.record(build_transfer())
    names = (
        "transfers_in_flight",
        "transfers_queued",
        "transfer_oldest_seconds",
        "operator_wallet_halted",
        "operator_wallet_gas_gwei",
        "operator_wallet_next_nonce",
    )

    def list_served() -> list[str]:
        return [each for each in names if read_gauge(each, operator=name_wallet(ONE)) is not None]

    async with bench.sending():
        await eventually(lambda: len(list_served()) == len(names))
        bench.leases.is_held = False
        await eventually(lambda: list_served() == [])


async def test_finality_that_lags_is_late_and_not_disputed(bench: Bench) -> None:
    bench.now.now = NOON + seconds(70)
    await bench.record(build_transfer())

    async with bench.sending():
        await wait_for_rounds(bench)

    assert read_gauge("node_concerns", concern="late") == 1
    assert read_gauge("node_concerns", concern="disputed") == 0
