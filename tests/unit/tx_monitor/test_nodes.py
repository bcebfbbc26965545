"""What nodes are asked about a wallet, and what becomes of answers that are odd or missing."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from services.tx_monitor.adapters.nodes import ChainNodes, Node
from services.tx_monitor.decisions.transfers import Transfer
from shared.chain.send_answers import SendAnswer
from tests.nodes import (
    SECRET,
    Call,
    LimitedNode,
    a_block,
    a_block_hash,
    a_receipt,
    as_list,
    error,
    respond_with,
    serve_node,
)
from tests.transfers import OPERATOR, a_queued_transfer, an_attempt, begin_with, mine
from tests.unit.tx_monitor.healthy_nodes import HASHES, WEI, Healthy, open_nodes


def build_transfer() -> Transfer:
    """Mined in block 97, by the first of two attempts."""
    first, second = (
        an_attempt(tx_hash=each, number=number) for number, each in enumerate(HASHES, start=1)
    )
    begun = begin_with(a_queued_transfer(), first, nonce=7)
    return mine(replace(begun, attempts=(first, second)), first, block=97)


async def test_a_view_has_what_the_node_answers_in_two_round_trips() -> None:
    node = LimitedNode(answer=Healthy())
    async with serve_node(node) as rpc:
        nodes = ChainNodes([Node(name="1", rpc=rpc)])
        await nodes.observe(OPERATOR, [])  # asks for the chain's id too
        node.batch_sizes.clear()
        (view,) = await nodes.observe(OPERATOR, [build_transfer()])

    assert (view.head.number, view.base_fee, view.rewards, view.node_tip) == (100, 2, (5, 6), 7)
    assert (view.nonce, view.final_nonce, view.gas_balance) == (9, 8, WEI)
    assert view.finalized is not None
    assert view.finalized.number == 96
    assert view.receipts[HASHES[0]] is not None
    assert view.pooled == {HASHES[0]}
    assert view.blocks == {97: a_block_hash(97)}
    assert len(node.batch_sizes) == 2


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"eth_maxPriorityFeePerGas": error(-32601, "no such method")}, {"node_tip": None}),
        ({"eth_maxPriorityFeePerGas": {"result": None}}, {"node_tip": None}),
        ({"eth_getBlockByNumber_finalized": {"result": None}}, {"finalized": None}),
        ({"eth_getBlockByNumber_finalized": error(-39001, "unknown")}, {"final_nonce": None}),
        ({"eth_getTransactionReceipt": error(-32000, "indexing")}, {"receipts": {}}),
        ({"eth_getBlockByNumber_0x61": {"result": None}}, {"blocks": {97: None}}),
        ({"eth_getBlockByNumber_0x61": error(-32000, "header not found")}, {"blocks": {}}),
    ],
)
async def test_what_a_node_does_not_say_is_missing(
    answers: dict[str, Any], expected: dict[str, object]
) -> None:
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(**answers))
        (view,) = await nodes.observe(OPERATOR, [build_transfer()])

    assert {name: getattr(view, name) for name in expected} == expected


@pytest.mark.parametrize(
    "answers",
    [
        {"eth_getBlockByNumber_latest": {"result": None}},
        {"eth_getTransactionCount": error(-32000, "no state")},
        {"eth_getBalance": {"result": "many"}},
        {"eth_feeHistory": {"result": {}}},
        {"eth_getBlockByNumber_finalized": error(429, "Too Many Requests")},
        {"eth_blockNumber": {"result": "0x5"}},
    ],
)
async def test_a_node_that_answers_with_nonsense_is_left_out_and_logged_without_its_address(
    answers: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(), Healthy(**answers))
        for _ in range(2):
            views = await nodes.observe(OPERATOR, [build_transfer()])
            assert [view.name for view in views] == ["1"]

    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith("node 2 ")
    assert SECRET not in caplog.text


async def test_each_answer_to_a_transaction_is_kept() -> None:
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(
            stack,
            Healthy(),
            Healthy(eth_sendRawTransaction=error(-32000, "already known")),
            Healthy(eth_sendRawTransaction=error(-32000, "intrinsic gas too low")),
        )
        answers = await nodes.send(b"\x02", awaited={"1", "2", "3"})

    assert answers.answers == (SendAnswer.ACCEPTED, SendAnswer.KNOWN, SendAnswer.INVALID)
    assert answers.texts == ("node 3: intrinsic gas too low",)
    assert not answers.is_refused


async def test_a_transaction_is_refused_where_each_node_that_answers_says_so() -> None:
    invalid = Healthy(eth_sendRawTransaction=error(-32000, "intrinsic gas too low"))
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, invalid, Healthy(eth_sendRawTransaction={"answer": 1}))
        answers = await nodes.send(b"\x02", awaited={"1", "2"})

    assert answers.answers == (SendAnswer.INVALID,)
    assert answers.silent == {"2"}
    assert answers.is_refused


@pytest.mark.parametrize(
    ("answers", "read"),
    [
        ({"eth_getTransactionReceipt": {"result": a_receipt(5, block=97)}}, {"receipts": {}}),
        ({"eth_getTransactionReceipt": {"result": "0x"}}, {"receipts": {}}),
        ({"eth_getBlockByNumber_0x61": {"result": a_block(98)}}, {"blocks": {}}),
        ({"eth_getTransactionCount_0x60": {"result": "many"}}, {"final_nonce": None}),
    ],
)
async def test_what_cannot_be_read_hides_nothing_else_and_is_named(
    answers: dict[str, Any], read: dict[str, object]
) -> None:
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(**answers))
        (view,) = await nodes.observe(OPERATOR, [build_transfer()])

    assert {name: getattr(view, name) for name in read} == read
    assert view.pooled == {HASHES[0]}
    assert view.unreadable


async def test_whatever_is_looked_up_is_answered_by_a_node_that_knows_the_head() -> None:
    """Behind one address may be several nodes."""
    bodies: list[list[str]] = []

    def respond(body: Any) -> web.Response:
        bodies.append([call["method"] for call in as_list(body)])
        return respond_with(body, [healthy(call) for call in as_list(body)])

    healthy, transfer = Healthy(), build_transfer()
    async with serve_node(respond) as rpc:
        nodes = ChainNodes([Node(name="1", rpc=rpc)])
        await nodes.observe(OPERATOR, [transfer])
        await nodes.observe(OPERATOR, [replace(transfer, block_number=None)])

    assert bodies[0] == ["eth_chainId"]
    looked_up = [body for body in bodies if "eth_getTransactionReceipt" in body]
    guarded = [body for body in bodies if body[0] == "eth_blockNumber"]
    assert len(looked_up) == 2
    assert len(guarded) == 3  # of the second view, the block of a new receipt in one of its own
    assert all(body in guarded for body in looked_up)
    assert bodies[-1] == ["eth_blockNumber", "eth_getBlockByNumber"]


async def test_a_node_of_another_chain_is_left_out_and_an_error_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    foreign = Healthy(eth_chainId={"result": "0x1"})
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(), foreign)
        for _ in range(2):
            assert [view.name for view in await nodes.observe(OPERATOR, [])] == ["1"]
        await nodes.send(b"\x02", awaited={"1"})
        async with nodes:
            pass

    assert set(foreign.calls) == {"eth_chainId"}
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert errors == ["node 2 is left out: it is of chain 1, not of Polygon (137)"]


async def test_a_node_is_asked_for_its_chain_once_and_again_after_it_failed() -> None:
    node = Healthy()
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, node)
        for _ in range(3):
            await nodes.observe(OPERATOR, [])
        assert node.calls.count("eth_chainId") == 1

        node.answers = {"eth_getBalance": {"result": "many"}}
        assert await nodes.observe(OPERATOR, []) == []
        node.answers = {}
        for _ in range(3):
            assert len(await nodes.observe(OPERATOR, [])) == 1

    assert node.calls.count("eth_chainId") == 2


async def test_a_node_that_hangs_is_sent_to_without_being_waited_for() -> None:
    released = asyncio.Event()

    async def hang(call: Call) -> Mapping[str, Any]:
        await released.wait()
        return late(call)

    late = Healthy()
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(), hang)
        answers = await nodes.send(b"\x02", awaited={"1"})
        assert (answers.answers, answers.silent) == ((SendAnswer.ACCEPTED,), frozenset())
        assert late.calls == []

        released.set()
        async with nodes:
            pass

    assert late.calls == ["eth_sendRawTransaction"]


async def test_what_fails_at_a_node_that_is_not_waited_for_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = Healthy(eth_sendRawTransaction=error(-32000, "txpool is full"))
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, failing)
        for _ in range(2):
            await nodes.send(b"\x02", awaited=())
        async with nodes:
            pass

    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warnings == ["a transaction may not have reached node 1: txpool is full"]
