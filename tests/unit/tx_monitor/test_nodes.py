"""What nodes are asked about a wallet, and what becomes of answers that are odd or missing."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode

from services.tx_monitor.adapters.nodes import CallReverted, ChainNodes, Node
from services.tx_monitor.decisions.transfers import Transfer
from shared.chain.send_answers import SendAnswer
from shared.chain.transfer_calls import Call as ContractCall
from shared.domain.errors import Transient
from tests.nodes import (
    SECRET,
    Call,
    LimitedNode,
    a_block,
    a_block_hash,
    a_receipt,
    a_transaction_hash,
    error,
    serve_node,
)
from tests.transfers import OPERATOR, a_queued_transfer, an_attempt, begin_with, mine

CALL = ContractCall(to="0x" + "11" * 20, data=b"\x01")
HASHES = [a_transaction_hash(number) for number in (1, 2)]
WEI = 3 * 10**20
"""More than fits into 64 bits."""


def build_transfer() -> Transfer:
    """Mined in block 97, by the first of two attempts."""
    first, second = (
        an_attempt(tx_hash=each, number=number) for number, each in enumerate(HASHES, start=1)
    )
    begun = begin_with(a_queued_transfer(), first, nonce=7)
    return mine(replace(begun, attempts=(first, second)), first, block=97)


class Healthy:
    """A node at block 100 whose finalized block is 96; some methods may answer otherwise."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[str] = []

    def __call__(self, call: Call) -> Mapping[str, Any]:
        method, params = call["method"], call["params"]
        self.calls.append(method)
        tag = str(params[0]) if params else ""
        if (odd := self.answers.get(f"{method}_{tag}", self.answers.get(method))) is not None:
            return dict(odd)
        match method:
            case "eth_getBlockByNumber":
                number = {"latest": 100, "finalized": 96}.get(tag) or int(tag, 16)
                return {"result": a_block(number)}
            case "eth_getTransactionCount":
                return {"result": hex(9 if params[1] == "latest" else 8)}
            case "eth_feeHistory":
                return {"result": {"baseFeePerGas": ["0x1", "0x2"], "reward": [["0x5"], ["0x6"]]}}
            case "eth_getTransactionReceipt":
                return {"result": a_receipt(1, block=97) if tag == HASHES[0] else None}
            case "eth_getTransactionByHash":
                return {"result": {"hash": tag} if tag == HASHES[0] else None}
        return {
            "result": {"eth_getBalance": hex(WEI), "eth_blockNumber": "0x64"}.get(method, "0x7")
        }


async def open_nodes(stack: AsyncExitStack, *answers: Any, timeout_s: float = 30) -> ChainNodes:
    clients = [
        await stack.enter_async_context(serve_node(LimitedNode(answer=answer), timeout_s=timeout_s))
        for answer in answers
    ]
    return ChainNodes([Node(name=str(number), rpc=rpc) for number, rpc in enumerate(clients, 1)])


async def test_a_view_has_what_the_node_answers_in_two_round_trips() -> None:
    node = LimitedNode(answer=Healthy())
    async with serve_node(node) as rpc:
        nodes = ChainNodes([Node(name="1", rpc=rpc)])
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
        {"eth_getTransactionReceipt": {"result": a_receipt(5, block=97)}},
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
        answers = await nodes.send(b"\x02")

    assert answers.answers == (SendAnswer.ACCEPTED, SendAnswer.KNOWN, SendAnswer.INVALID)
    assert answers.texts == ("node 3: intrinsic gas too low",)
    assert not answers.is_refused


async def test_a_transaction_is_refused_where_each_node_that_answers_says_so() -> None:
    invalid = Healthy(eth_sendRawTransaction=error(-32000, "intrinsic gas too low"))
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, invalid, Healthy(eth_sendRawTransaction={"answer": 1}))
        answers = await nodes.send(b"\x02")

    assert answers.answers == (SendAnswer.INVALID,)
    assert answers.is_refused


INSUFFICIENT = encode(["string"], ["ERC20: transfer amount exceeds balance"])


@pytest.mark.parametrize(
    ("data", "text", "reason"),
    [
        ("0x08c379a0" + INSUFFICIENT.hex(), "execution reverted", "ERC20: transfer amount exceeds"),
        ("0xf4d678b8", "execution reverted", "InsufficientBalance"),
        ("0x4e487b71" + f"{17:064x}", "execution reverted", "panic 0x11"),
        ("0x", "execution reverted: paused", "execution reverted: paused"),
    ],
)
async def test_a_call_that_would_revert_says_why(data: str, text: str, reason: str) -> None:
    refusal = {"error": {"code": 3, "message": text, "data": data}}
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(eth_estimateGas=refusal))

        with pytest.raises(CallReverted, match=reason):
            await nodes.estimate_gas(OPERATOR, CALL)


async def test_a_node_that_can_estimate_outweighs_one_that_is_behind() -> None:
    reverted = Healthy(eth_estimateGas=error(3, "execution reverted"))
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, reverted, Healthy(eth_estimateGas={"result": "0x5208"}))

        assert await nodes.estimate_gas(OPERATOR, CALL) == 21_000


async def test_a_node_that_fails_says_nothing_about_the_call() -> None:
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(eth_estimateGas=error(-32000, "no state")))

        with pytest.raises(Transient, match="no state"):
            await nodes.estimate_gas(OPERATOR, CALL)
