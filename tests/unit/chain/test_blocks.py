"""Blocks and receipts whose fields are missing, null or of another type."""

from typing import Any

import pytest
from aiohttp import web

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.blocks import FinalityUnknown, Receipt, parse_block, parse_receipt
from shared.chain.client import ChainClient
from shared.chain.rpc import NodeRefused
from shared.domain.errors import Transient
from tests.nodes import (
    ChainModel,
    LimitedNode,
    a_block,
    a_receipt,
    a_transaction_hash,
    as_list,
    error,
    respond_with,
    serve_node,
)

WRONG = [7, True, "", "0x", "0xzz", "7", "0x" + "f" * 65, [], {}, 1.5]


@pytest.mark.parametrize("field", ["blockNumber", "blockHash", "status"])
def test_a_receipt_with_a_null_block_or_without_a_status_is_not_mined_yet(field: str) -> None:
    receipt = a_receipt(1, block=7)
    without = {name: value for name, value in receipt.items() if name != field}

    for answer in (receipt | {field: None}, without, None):
        assert parse_receipt(answer, tx_hash=a_transaction_hash(1)) is None


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    "field", ["transactionHash", "blockNumber", "blockHash", "status", "gasUsed"]
)
def test_a_receipt_that_cannot_be_read_is_transient(field: str, wrong: Any) -> None:
    with pytest.raises(Transient, match=field):
        parse_receipt(a_receipt(1, block=7, **{field: wrong}), tx_hash=a_transaction_hash(1))


@pytest.mark.parametrize("logs", [None, 7, "0x", {}, [None], ["0x"]])
def test_a_receipt_without_logs_is_transient(logs: Any) -> None:
    with pytest.raises(Transient, match="logs"):
        parse_receipt(a_receipt(1, block=7, logs=logs), tx_hash=a_transaction_hash(1))


@pytest.mark.parametrize("wrong", [None, *WRONG])
@pytest.mark.parametrize("field", ["number", "hash", "parentHash", "timestamp"])
def test_a_block_that_cannot_be_read_is_transient(field: str, wrong: Any) -> None:
    with pytest.raises(Transient, match=field):
        parse_block(a_block(7) | {field: wrong})


@pytest.mark.parametrize("answer", [None, 7, "0x7", [], a_block(8)])
def test_an_answer_that_is_not_the_block_is_transient(answer: Any) -> None:
    with pytest.raises(Transient):
        parse_block(answer, number=7)


def test_a_time_that_no_calendar_has_is_transient() -> None:
    with pytest.raises(Transient, match="timestamp"):
        parse_block(a_block(7) | {"timestamp": hex(10**15)})


async def test_a_receipt_that_cannot_be_read_fails_alone() -> None:
    hashes = [a_transaction_hash(number) for number in (1, 2, 3)]

    def respond(body: Any) -> web.Response:
        return respond_with(
            body,
            [
                {"result": a_receipt(1, block=7)},
                {"result": a_receipt(2, block=7, gasUsed=None)},
                {"error": "transaction indexing is in progress"},
            ],
        )

    async with serve_node(respond) as rpc:
        read, unreadable, refused = await ChainClient(rpc).fetch_receipts_or_failures(hashes)
        with pytest.raises(Transient):
            await ChainClient(rpc).fetch_receipts(hashes)

    assert read is not None
    assert type(unreadable) is Transient
    assert isinstance(refused, NodeRefused)


async def test_the_receipt_of_another_transaction_fails_alone() -> None:
    chain = ChainModel(head=9)
    chain.receipts = {
        a_transaction_hash(1).upper().replace("X", "x"): a_receipt(1, block=7),
        a_transaction_hash(2): a_receipt(3, block=7),
    }

    async with serve_node(LimitedNode(answer=chain)) as rpc:
        client = ChainClient(rpc)
        read, wrong = await client.fetch_receipts_or_failures(list(chain.receipts))
        with pytest.raises(Transient, match="instead of"):
            await client.fetch_shares_and_receipts(
                EXCHANGE_V2, 1, block_number=9, tx_hashes=[a_transaction_hash(2)]
            )

    assert isinstance(read, Receipt)
    assert isinstance(wrong, Transient)


async def test_a_null_finalized_block_says_what_the_node_must_have() -> None:
    async with serve_node(LimitedNode(answer=ChainModel(head=9))) as rpc:
        with pytest.raises(FinalityUnknown, match="POLYGON_RPC_URL must know the block tag"):
            await ChainClient(rpc).fetch_finalized_block()


@pytest.mark.parametrize(
    "refusal",
    [
        error(-39001, "Unknown block"),
        error(-32000, "finalized block not found"),
        error(-32602, "invalid argument 0: hex string without 0x prefix"),
        {"error": "finalized tag not supported"},
    ],
)
async def test_a_refused_finalized_block_says_why(refusal: dict[str, Any]) -> None:
    chain = ChainModel(head=9)

    def answer(call: Any) -> Any:
        return refusal if call["params"][0] == "finalized" else chain(call)

    async with serve_node(LimitedNode(answer=answer)) as rpc:
        with pytest.raises(FinalityUnknown) as failure:
            await ChainClient(rpc).fetch_finalized_block()

    said = refusal["error"]
    assert (said if isinstance(said, str) else said["message"]) in str(failure.value)


@pytest.mark.parametrize("max_batch", [1, 100])
async def test_a_finalized_block_above_the_nodes_head_is_not_believed(max_batch: int) -> None:
    chain = ChainModel(head=9)

    def answer(call: Any) -> Any:
        named = call["params"][0] == "finalized"
        return {"result": a_block(10**6)} if named else chain(call)

    async with serve_node(LimitedNode(answer=answer, max_batch=max_batch)) as rpc:
        with pytest.raises(FinalityUnknown, match="1000000"):
            await ChainClient(rpc).fetch_finalized_block()


async def test_a_limited_rate_says_nothing_about_finality() -> None:
    def respond(body: Any) -> web.Response:
        return respond_with(body, [error(-32005, "rate limited") for _ in as_list(body)])

    async with serve_node(respond) as rpc:
        with pytest.raises(NodeRefused, match="rate limited"):
            await ChainClient(rpc).fetch_finalized_block()
