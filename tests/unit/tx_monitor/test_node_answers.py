"""What the receipts' feed makes of a node's limits, of wrong receipts and of a missing finality."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from services.tx_monitor.adapters import Finality, ReceiptFeed
from services.tx_monitor.decisions.watches import Watch, apply_receipt
from shared.chain.addresses import EXCHANGE_V2, LIVE_EXCHANGES
from shared.chain.blocks import Block
from shared.chain.client import ChainClient
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.transactions import Purpose, ReceiptSeen, TransactionState
from shared.testing.waiting import eventually
from tests.nodes import (
    ChainModel,
    LimitedNode,
    Respond,
    a_block_hash,
    a_fill_log,
    a_receipt,
    a_transaction_hash,
    as_list,
    error,
    respond_with,
    serve_node,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROXY = "0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5"


def a_watch(number: int) -> Watch:
    return Watch(
        request_id=f"request-{number}",
        proxy=PROXY,
        transaction_hash=a_transaction_hash(number),
        purpose=Purpose.SETTLEMENT,
        intent_id=f"intent-{number}",
    )


class Watches:
    """The open watches; what was seen of them is applied as the service does."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.by_request = {watch.request_id: watch for watch in watches}
        self.published: list[ReceiptSeen] = []
        self.polls = 0

    async def load_open(self) -> list[Watch]:
        self.polls += 1
        return list(self.by_request.values())

    async def publish(self, message: Message) -> None:
        assert isinstance(message, ReceiptSeen)
        self.published.append(message)
        watch = self.by_request[message.request_id]
        self.by_request[message.request_id] = apply_receipt(watch, message)

    @property
    def states(self) -> set[TransactionState]:
        return {watch.state for watch in self.by_request.values()}


async def poll(watches: Watches, respond: Respond, *, batch_size: int = 200) -> None:
    """Let the feed poll a few times."""
    async with serve_node(respond) as rpc:
        feed = ReceiptFeed(
            watches,  # type: ignore[arg-type]
            ChainClient(rpc),
            exchanges=LIVE_EXCHANGES,
            owns=lambda _: True,
            now=lambda: NOON,
            poll_interval=timedelta(milliseconds=1),
            batch_size=batch_size,
            give_up_after=timedelta(hours=1),
        )
        task, polls = asyncio.create_task(feed(watches.publish)), watches.polls
        await eventually(lambda: watches.polls >= polls + 3 or task.done())
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)


@pytest.mark.parametrize("max_batch", [7, 100])
async def test_150_open_watches_at_a_node_that_takes_100_requests_at_once(max_batch: int) -> None:
    chain = ChainModel(
        head=300,
        finalized=0,
        receipts={
            a_transaction_hash(number): a_receipt(number, block=number + 1) for number in range(150)
        },
    )
    watches = Watches(list(map(a_watch, range(150))))

    await poll(watches, LimitedNode(answer=chain, max_batch=max_batch))
    assert watches.states == {TransactionState.MINED}
    chain.finalized = 300
    await poll(watches, LimitedNode(answer=chain, max_batch=max_batch))

    assert watches.states == {TransactionState.FINAL}


@pytest.mark.parametrize(
    "fields",
    [
        {"blockNumber": None},
        {"blockHash": None},
        {"blockNumber": None, "blockHash": None},
        {"status": None},
    ],
)
async def test_a_receipt_with_null_block_fields_is_not_mined_yet(fields: dict[str, Any]) -> None:
    chain = ChainModel(head=9, finalized=9)
    chain.receipts = {
        a_transaction_hash(1): a_receipt(1, block=7, **fields),
        a_transaction_hash(2): a_receipt(2, block=7),
    }
    watches = Watches([a_watch(1), a_watch(2)])

    await poll(watches, LimitedNode(answer=chain))
    assert watches.by_request["request-1"] == a_watch(1)
    assert watches.by_request["request-2"].state is TransactionState.FINAL
    chain.receipts[a_transaction_hash(1)] = a_receipt(1, block=8)
    await poll(watches, LimitedNode(answer=chain))

    assert watches.states == {TransactionState.FINAL}


@pytest.mark.parametrize(
    "refusal",
    [
        {"result": None},
        error(-32000, "finalized block not found"),
        error(-39001, "Unknown block"),
        {"error": "finalized is not supported"},
    ],
)
async def test_without_a_finalized_block_transactions_are_mined_and_only_finality_waits(
    refusal: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    chain = ChainModel(head=9, receipts={a_transaction_hash(1): a_receipt(1, block=7)})

    def answer(call: Any) -> Any:
        is_finality = call["params"][0] == "finalized" and chain.finalized is None
        return refusal if is_finality else chain(call)

    watches = Watches([a_watch(1)])
    with caplog.at_level(logging.INFO):
        await poll(watches, LimitedNode(answer=answer))
        assert watches.states == {TransactionState.MINED}
        assert len(watches.published) == 1
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1, "it is not repeated with each poll"
    assert "POLYGON_RPC_URL must know the block tag" in warnings[0].getMessage()

    chain.finalized = 8
    await poll(watches, LimitedNode(answer=answer))
    assert watches.states == {TransactionState.FINAL}


class Finalized:
    """A chain whose finalized block is what comes next; an error is raised."""

    def __init__(self, *answers: int | Transient) -> None:
        self._answers = iter(answers)

    async def fetch_finalized_block(self) -> Block:
        answer = next(self._answers)
        if isinstance(answer, Transient):
            raise answer
        return Block(number=answer, hash="", parent_hash="", timestamp=0)


async def test_what_was_final_stays_final_where_a_node_lags_or_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = Transient("away")
    finality = Finality(Finalized(away, 7, 5, away, away, 9))  # type: ignore[arg-type]

    with caplog.at_level(logging.INFO):
        assert [await finality.fetch_block() for _ in range(6)] == [0, 7, 7, 7, 7, 9]

    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO", "WARNING", "INFO"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"result": a_receipt(1, block=7, gasUsed=None)},
        {"result": "0x"},
        {"error": "rate limited"},
        error(-32000, "transaction indexing is in progress"),
        {
            "result": a_receipt(
                1,
                block=7,
                logs=[a_fill_log(1, maker=PROXY, block=7, exchange=EXCHANGE_V2) | {"data": "0x00"}],
            )
        },
    ],
)
async def test_a_receipt_that_cannot_be_read_keeps_no_other_from_being_read(
    wrong: dict[str, Any],
) -> None:
    chain = ChainModel(head=9, finalized=9, receipts={a_transaction_hash(2): a_receipt(2, block=7)})
    watches = Watches([a_watch(1), a_watch(2)])

    def answer(call: Any) -> Any:
        return wrong if call["params"][0] == a_transaction_hash(1) else chain(call)

    await poll(watches, LimitedNode(answer=answer))

    assert watches.by_request["request-1"] == a_watch(1)
    assert watches.by_request["request-2"].state is TransactionState.FINAL


@pytest.mark.parametrize("body", ["Too many requests", {"error": "rate limited"}, [], None])
async def test_a_node_that_answers_nonsense_ends_no_process(body: Any) -> None:
    watches = Watches([replace(a_watch(1), block_number=7, block_hash=a_block_hash(7))])

    await poll(watches, lambda _: web.json_response(body))

    assert watches.published == []


async def test_requests_that_fail_one_by_one_end_no_process() -> None:
    def respond(body: Any) -> web.Response:
        return respond_with(body, [{"error": "rate limited"} for _ in as_list(body)])

    watches = Watches([a_watch(1), a_watch(2)])

    await poll(watches, respond)

    assert watches.published == []
