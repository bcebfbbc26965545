"""The node builds blocks by time, and runs as a process of its own."""

import asyncio
import sys

import pytest

from services.paper_venue.polygon_node.node import PolygonNode
from shared.chain.rpc import Rpc
from shared.domain.errors import Transient
from shared.testing.waiting import eventually
from tests.integration.polygon_node.senders import fund_sender
from tools.stack.ports import HOST, Ports

pytestmark = pytest.mark.integration


async def test_blocks_are_built_by_time_until_mining_is_switched_off(rpc_url: str) -> None:
    async with PolygonNode(rpc_url, block_seconds=0.02) as node:
        rpc = Rpc(node.url)
        node.set_base_fee(100 * 10**9)
        transaction = await (await fund_sender(rpc)).send(0)

        async def is_mined() -> bool:
            receipt = await rpc.call("eth_getTransactionReceipt", transaction.hash)
            return receipt is not None

        await eventually(is_mined)
        assert await rpc.call("node_setMining", False) is True
        head = await node.mine(0)
        assert await node.mine() == head + 1
        assert await rpc.call("node_setMining", True) is False
        await rpc.close()


async def test_what_is_sent_while_blocks_are_built_is_mined_in_the_end(rpc_url: str) -> None:
    async with PolygonNode(rpc_url, block_seconds=0.01) as node:
        rpc = Rpc(node.url)
        node.set_base_fee(100 * 10**9)
        senders = [await fund_sender(rpc) for _ in range(3)]

        await asyncio.gather(*(each.send(nonce) for nonce in range(8) for each in senders))

        async def are_all_mined() -> bool:
            return [await each.count("latest") for each in senders] == [8, 8, 8]

        await eventually(are_all_mined)
        assert node.pool.senders == []
        await rpc.close()


async def test_a_node_without_an_anvil_does_not_start() -> None:
    with pytest.raises(Transient, match="no answer from anvil"):
        async with PolygonNode(f"http://{HOST}:{Ports().reserve_free()}"):
            pass


async def test_the_command_serves_a_front_on_each_port(rpc_url: str) -> None:
    ports = Ports()
    numbers = [ports.reserve_free() for _ in range(2)]
    options = [text for number in numbers for text in ("--port", str(number))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.paper_venue.polygon_node",
        *("--anvil", rpc_url, *options),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        rpcs = [Rpc(url) for url in line.split()]
        head = int(await rpcs[0].call("node_mine", 2), 16)

        assert line.split() == [f"http://{HOST}:{number}" for number in numbers]
        assert int(await rpcs[1].call("eth_blockNumber"), 16) == head
        for each in rpcs:
            await each.close()
    finally:
        process.terminate()
        assert await process.wait() == 0
