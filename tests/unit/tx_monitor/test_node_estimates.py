"""What nodes answer to the question how much gas a call would need."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from eth_abi.abi import encode

from services.tx_monitor.adapters.nodes import CallReverted, ChainNodes
from shared.chain.transfer_calls import Call as ContractCall
from shared.domain.errors import Transient
from tests.nodes import error
from tests.transfers import OPERATOR
from tests.unit.tx_monitor.healthy_nodes import Healthy, open_nodes

CALL = ContractCall(to="0x" + "11" * 20, data=b"\x01")
ALLOWED = 120_000
BOTH = {"1": 100, "2": 100}


async def estimate(nodes: ChainNodes, heads: Mapping[str, int] = BOTH) -> int:
    return await nodes.estimate_gas(OPERATOR, CALL, allowed=ALLOWED, heads=heads)


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
            await estimate(nodes)


async def test_a_node_that_can_estimate_outweighs_one_that_is_behind() -> None:
    reverted = Healthy(eth_estimateGas=error(3, "execution reverted"))
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, reverted, Healthy(eth_estimateGas={"result": "0x5208"}))

        assert await estimate(nodes) == 21_000


async def test_a_node_that_fails_says_nothing_about_the_call() -> None:
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(eth_estimateGas=error(-32000, "no state")))

        with pytest.raises(Transient, match="no state"):
            await estimate(nodes)


REVERTED = error(3, "execution reverted")
TOO_MUCH = {"result": hex(ALLOWED + 1)}


@pytest.mark.parametrize(
    "text",
    [
        "gas required exceeds allowance (120000)",
        "Out of gas: gas required exceeds allowance: 120000",
        "out of gas",
        "EVM error OutOfGas",
    ],
)
async def test_a_call_that_needs_more_gas_than_is_allowed_counts_as_reverted(text: str) -> None:
    node = Healthy(eth_estimateGas=error(-32000, text))
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, node)

        with pytest.raises(CallReverted, match="more than 120000 gas"):
            await estimate(nodes)

    (asked,) = node.params["eth_estimateGas"]
    assert int(asked[0]["gas"], 16) == ALLOWED


async def test_a_node_that_limits_requests_says_nothing_about_the_gas() -> None:
    limited = Healthy(eth_estimateGas=error(429, "out of gas credits: too many requests"))
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, limited)

        with pytest.raises(Transient, match="too many requests"):
            await estimate(nodes)


async def test_only_nodes_that_are_up_to_date_are_asked() -> None:
    behind = Healthy(eth_estimateGas={"result": "0x7000"})
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(eth_estimateGas={"result": "0x5208"}), behind)

        assert await estimate(nodes, {"1": 100}) == 21_000
        assert "eth_estimateGas" not in behind.calls
        with pytest.raises(Transient, match="up to date"):
            await estimate(nodes, {})


async def test_an_answer_of_a_node_that_does_not_know_the_head_counts_for_nothing() -> None:
    """Behind one address may be several nodes."""
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(stack, Healthy(eth_estimateGas=REVERTED))

        with pytest.raises(Transient, match="before 101"):
            await estimate(nodes, {"1": 101})


@pytest.mark.parametrize("other", [error(-32000, "no state"), {"result": "many"}])
async def test_a_revert_beside_a_failure_decides_nothing(other: Any) -> None:
    async with AsyncExitStack() as stack:
        nodes = await open_nodes(
            stack, Healthy(eth_estimateGas=REVERTED), Healthy(eth_estimateGas=other)
        )

        with pytest.raises(Transient):
            await estimate(nodes)


async def test_an_estimate_above_what_is_allowed_is_a_revert_of_that_node_only() -> None:
    async with AsyncExitStack() as stack:
        high = Healthy(eth_estimateGas=TOO_MUCH)
        nodes = await open_nodes(stack, high, Healthy(eth_estimateGas={"result": "0x5208"}))

        assert await estimate(nodes) == 21_000
        with pytest.raises(CallReverted, match="120001 gas, and 120000 are allowed"):
            await estimate(nodes, {"1": 100})


async def test_of_several_estimates_the_highest_counts() -> None:
    async with AsyncExitStack() as stack:
        low, high = (Healthy(eth_estimateGas={"result": each}) for each in ("0x5208", "0x5209"))
        nodes = await open_nodes(stack, low, high)

        assert await estimate(nodes) == 21_001
