"""Nodes limit batches, topics and ranges of blocks: what they refuse is asked for in parts."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.client import ChainClient
from shared.chain.limits import GROW_AFTER, Limit
from shared.chain.rpc import MAX_BATCH, NodeRefused
from shared.domain.errors import Transient
from shared.testing.waiting import eventually
from tests.nodes import (
    ChainModel,
    LimitedNode,
    a_block_hash,
    a_fill_log,
    a_receipt,
    a_transaction_hash,
    as_list,
    error,
    respond_with,
    serve_node,
)

WALLET = "0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5"
TOKEN = 10**70
HASHES = [a_transaction_hash(number) for number in range(150)]


def a_chain(*, head: int = 300) -> ChainModel:
    """A chain with 150 transactions, one in each block from the first on."""
    return ChainModel(
        head=head,
        receipts={
            a_transaction_hash(number): a_receipt(number, block=number + 1) for number in range(150)
        },
    )


def test_a_limit_is_remembered_when_it_has_worked_and_grows_again_slowly() -> None:
    limit = Limit(64)

    limit.worked(64, used=3)
    assert limit.value == 64
    limit.worked(8, used=8)
    assert limit.value == 8
    for _ in range(GROW_AFTER - 1):
        limit.worked(8, used=8)
    limit.worked(8, used=7)
    assert limit.value == 8
    limit.worked(8, used=8)
    assert limit.value == 16


def test_a_limit_is_neither_below_one_nor_above_its_maximum() -> None:
    limit = Limit(3)

    limit.worked(1, used=1)
    assert limit.value == 1
    for _ in range(10 * GROW_AFTER):
        limit.worked(limit.value, used=limit.value)
    assert limit.value == 3


def test_a_limit_is_lowered_to_its_minimum_and_not_raised_to_it() -> None:
    limit = Limit(40)

    for lowered in (20, 16, 16):
        limit.lower(minimum=16)
        assert limit.value == lowered
    limit.worked(3, used=3)
    limit.lower(minimum=16)
    assert limit.value == 3


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("max_batch", [1, 7, 40, 100, 1000])
async def test_150_receipts_are_read_from_a_node_that_limits_its_batches(
    max_batch: int, *, drops: bool
) -> None:
    node = LimitedNode(answer=a_chain(), max_batch=max_batch, drops=drops)

    async with serve_node(node) as rpc:
        chain = ChainClient(rpc)
        receipts = await chain.fetch_receipts(HASHES)
        refusals = node.refusals
        again = await chain.fetch_receipts(HASHES)

    assert [receipt and receipt.tx_hash for receipt in receipts] == HASHES
    assert again == receipts
    assert max(node.batch_sizes) <= min(max_batch, MAX_BATCH)
    assert refusals <= 7
    assert node.refusals - refusals <= 150 // max_batch // GROW_AFTER + 1, "it is remembered"


async def test_a_node_that_takes_no_batch_above_its_limit_gives_blocks_and_balances() -> None:
    node = LimitedNode(answer=a_chain(), max_batch=30)
    numbers = list(range(1, 201))

    async with serve_node(node) as rpc:
        chain = ChainClient(rpc)
        blocks = await chain.fetch_blocks(numbers)
        hashes = await chain.fetch_block_hashes(numbers)
        shares, receipts = await chain.fetch_shares_and_receipts(
            WALLET, TOKEN, block_number=300, tx_hashes=HASHES
        )

    assert [block.number for block in blocks] == numbers
    assert hashes == {number: a_block_hash(number) for number in numbers}
    assert shares == 7_000_000
    assert [receipt and receipt.tx_hash for receipt in receipts] == HASHES


async def test_each_part_of_a_batch_is_answered_by_a_node_that_knows_the_block() -> None:
    """Behind a load balancer the second part may go to a node that lags."""
    heads = iter([300, 100, 100])

    def respond(body: Any) -> web.Response:
        head = next(heads)
        return respond_with(body, list(map(a_chain(head=head), as_list(body))))

    async with serve_node(respond) as rpc:
        with pytest.raises(Transient, match="at block 100, before 300"):
            await ChainClient(rpc).fetch_shares_and_receipts(
                WALLET, TOKEN, block_number=300, tx_hashes=HASHES
            )


@pytest.mark.parametrize("text", ["batch too large", "response too large", "batch size exceeded"])
async def test_an_error_of_one_request_about_its_batch_is_a_refused_batch(text: str) -> None:
    """geth answers the first request of too large a batch with the error, or all that remain."""

    def respond(body: Any) -> web.Response:
        calls = as_list(body)
        answers = list(map(a_chain(), calls))
        return respond_with(
            body, [*answers[:4], *([error(-32003, text)] * len(answers[4:]))][: len(calls)]
        )

    async with serve_node(respond) as rpc:
        assert None not in await ChainClient(rpc).fetch_receipts(HASHES)


async def test_what_is_refused_of_one_request_alone_is_an_error() -> None:
    node = LimitedNode(answer=a_chain(), max_batch=0)

    async with serve_node(node) as rpc:
        with pytest.raises(NodeRefused, match="batch limit"):
            await ChainClient(rpc).fetch_receipts(HASHES)
        node.max_batch = None
        node.batch_sizes.clear()
        await ChainClient(rpc).fetch_receipts(HASHES)

    assert node.batch_sizes == [100, 50], "a size that never worked is not remembered"


@pytest.mark.parametrize(
    "text", ["too many requests", "Your app has exceeded its compute units per second capacity"]
)
async def test_a_limited_rate_is_no_reason_to_ask_in_smaller_parts(text: str) -> None:
    bodies: list[Any] = []

    def respond(body: Any) -> web.Response:
        bodies.append(body)
        return web.json_response({"id": None, **error(-32005, text)})

    async with serve_node(respond) as rpc:
        chain = ChainClient(rpc)
        with pytest.raises(NodeRefused):
            await chain.fetch_receipts(HASHES)
        with pytest.raises(NodeRefused):
            await chain.fetch_order_fills(1, 300, [WALLET])

    assert len(bodies) == 2


async def test_fills_of_1200_leaders_are_read_from_a_node_that_takes_1000_topics() -> None:
    leaders = [f"0x{number + 1:040x}" for number in range(1_200)]
    logs = [
        a_fill_log(number, maker=leader, block=1 + number % 300, exchange=EXCHANGE_V2)
        for number, leader in enumerate(leaders)
    ]
    node = LimitedNode(answer=ChainModel(head=300, logs=logs), max_makers=1_000)

    async with serve_node(node) as rpc:
        fills = await ChainClient(rpc).fetch_order_fills(1, 300, leaders)

    assert {fill.maker.lower() for fill in fills} == set(leaders)
    assert [(fill.block_number, fill.log_index) for fill in fills] == sorted(
        (fill.block_number, fill.log_index) for fill in fills
    )
    assert node.refusals == 0


@pytest.mark.parametrize("max_makers", [1, 3, 10])
async def test_a_node_that_takes_fewer_topics_is_asked_for_fewer_wallets(max_makers: int) -> None:
    leaders = [f"0x{number + 1:040x}" for number in range(40)]
    logs = [
        a_fill_log(number, maker=leader, block=1 + number, exchange=EXCHANGE_V2)
        for number, leader in enumerate(leaders)
    ]
    node = LimitedNode(answer=ChainModel(head=40, logs=logs), max_makers=max_makers)

    async with serve_node(node) as rpc:
        chain = ChainClient(rpc)
        fills = await chain.fetch_order_fills(1, 40, leaders)
        refusals = node.refusals
        assert await chain.fetch_order_fills(1, 40, leaders) == fills

    assert [fill.maker.lower() for fill in fills] == leaders
    assert set(node.spans) == {(1, 40)}
    assert refusals <= 6
    assert node.refusals == refusals


@pytest.mark.parametrize("max_blocks", [1, 3, 10, 1000])
async def test_a_span_that_the_node_refuses_is_halved_until_it_answers(max_blocks: int) -> None:
    node = LimitedNode(answer=ChainModel(head=250), max_blocks=max_blocks)

    async with serve_node(node) as rpc:
        await ChainClient(rpc, block_span=100).fetch_order_fills(1, 250, [WALLET])

    blocks = [block for start, end in node.spans for block in range(start, end + 1)]
    assert blocks == list(range(1, 251))
    assert node.refusals <= 7 + 250 // max_blocks // GROW_AFTER


async def test_a_span_grows_again_when_the_node_takes_more() -> None:
    node = LimitedNode(answer=ChainModel(head=2_000), max_blocks=3)

    async with serve_node(node) as rpc:
        chain = ChainClient(rpc, block_span=512)
        await chain.fetch_order_fills(1, 10, [WALLET])
        node.max_blocks = None
        await chain.fetch_order_fills(1, 2_000, [WALLET])

    assert max(end - start + 1 for start, end in node.spans) >= 64


@pytest.mark.parametrize("fails", ["late", "page"])
async def test_a_span_that_the_node_does_not_answer_is_halved_for_the_next_attempt(
    fails: str,
) -> None:
    spans: list[int] = []

    async def answer(call: Any) -> dict[str, Any]:
        if call["method"] == "eth_getLogs":
            (log_filter,) = call["params"]
            spans.append(int(log_filter["toBlock"], 16) - int(log_filter["fromBlock"], 16) + 1)
            if spans[-1] > 30 and fails == "late":
                await asyncio.Event().wait()
            if spans[-1] > 30:
                raise web.HTTPGatewayTimeout(text="<html>504</html>")
        return dict(ChainModel(head=100)(call))

    async with serve_node(
        LimitedNode(answer=answer), timeout_s=2 if fails == "late" else 30
    ) as rpc:
        chain = ChainClient(rpc, block_span=100)
        with pytest.raises(Transient, match="no answer"):
            await chain.fetch_order_fills(1, 100, [WALLET])

        async def is_read() -> bool:
            try:
                return await chain.fetch_order_fills(1, 100, [WALLET]) == []
            except Transient:
                return False

        await eventually(is_read, what="the spans are short enough")

    assert spans[0] == 100
    assert min(spans) < 30


async def test_a_node_that_refuses_a_single_block_and_wallet_is_an_error() -> None:
    async with serve_node(LimitedNode(answer=ChainModel(head=9), max_blocks=0)) as rpc:
        with pytest.raises(NodeRefused, match="10000 results"):
            await ChainClient(rpc).fetch_order_fills(1, 9, [WALLET])


async def test_a_lagging_node_is_an_error() -> None:
    async with serve_node(LimitedNode(answer=ChainModel(head=9))) as rpc:
        with pytest.raises(Transient, match="before 10"):
            await ChainClient(rpc).fetch_order_fills(1, 10, [WALLET])


async def test_spans_that_were_read_are_yielded_before_a_later_one_fails() -> None:
    chain_model = ChainModel(
        head=10, logs=[a_fill_log(1, maker=WALLET, block=2, exchange=EXCHANGE_V2)]
    )
    async with serve_node(LimitedNode(answer=chain_model)) as rpc:
        spans = ChainClient(rpc, block_span=4).read_order_fills(1, 12, [WALLET])
        first, second = await anext(spans), await anext(spans)
        with pytest.raises(Transient, match="before 12"):
            await anext(spans)

    assert ([fill.block_number for fill in first.fills], first.through_block) == ([2], 4)
    assert (second.fills, second.through_block) == ([], 8)
