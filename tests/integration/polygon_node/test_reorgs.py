"""Reorgs un-mine transactions, and finality stands still on demand."""

import pytest

from services.paper_venue.polygon_node.node import PolygonNode
from shared.chain.rpc import NodeRefused, Rpc
from tests.integration.polygon_node.senders import Sender, fetch_state
from tests.signed_transactions import sign_transfer

pytestmark = pytest.mark.integration


async def test_what_a_reorg_unmines_is_pending_again_and_is_mined_again(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    sent = [await sender.send(nonce) for nonce in range(2)]
    await node.mine(2)
    head = int(await rpc.call("eth_blockNumber"), 16)
    replaced = await rpc.call("eth_getBlockByNumber", hex(head - 1), False)

    done = await rpc.call("node_reorg", {"depth": 2})

    hashes = [each.hash for each in sent]
    assert done == {"unmined": hashes, "reinjected": hashes, "head": hex(head)}
    assert [await fetch_state(rpc, each) for each in sent] == ["pending", "pending"]
    assert (await sender.count("latest"), await sender.count("pending")) == (0, 2)
    assert await rpc.call("eth_getBlockByHash", replaced["hash"], False) is None
    now = await rpc.call("eth_getBlockByNumber", hex(head - 1), False)
    assert (now["hash"] != replaced["hash"], now["parentHash"]) == (True, replaced["parentHash"])
    await node.mine()
    assert [await fetch_state(rpc, each) for each in sent] == ["mined", "mined"]


async def test_without_reinjection_nobody_knows_the_transaction_until_it_is_sent_again(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    transaction = await sender.send(0)
    await node.mine()

    await node.reorg(1, reinject=False)

    await node.mine()
    assert await fetch_state(rpc, transaction) == "unknown"
    assert await sender.count("latest") == 0
    await sender.resend(transaction)
    await node.mine()
    assert await fetch_state(rpc, transaction) == "mined"


async def test_a_competing_transaction_of_the_new_branch_wins(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    original = await sender.send(0)
    following = await sender.send(1)
    await node.mine(3)
    rival = sign_transfer(sender.account, 0, value=7, tip=26)

    done = await node.reorg(3, competing=[rival.raw])

    assert await fetch_state(rpc, rival) == "mined"
    assert await fetch_state(rpc, original) == "unknown"
    assert await fetch_state(rpc, following) == "pending"
    assert done.reinjected == (following.hash,)
    await node.mine()
    assert await fetch_state(rpc, following) == "mined"
    assert await sender.fetch_refusal(0) == (-32000, "nonce too low: next nonce 2, tx nonce 0")


async def test_a_reorg_may_leave_a_shorter_chain(node: PolygonNode, rpc: Rpc) -> None:
    head = int(await rpc.call("eth_blockNumber"), 16)

    await node.reorg(3, blocks=0)

    assert int(await rpc.call("eth_blockNumber"), 16) == head - 3


async def test_a_refused_competing_transaction_leaves_a_shorter_chain_and_a_full_pool(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    transaction = await sender.send(0)
    head = await node.mine()
    unpayable = sign_transfer(sender.account, 0, value=10**30)

    with pytest.raises(NodeRefused, match="nsufficient funds"):
        await rpc.call("node_reorg", {"depth": 1, "competing": [unpayable.raw]})

    assert int(await rpc.call("eth_blockNumber"), 16) == head - 1
    assert await fetch_state(rpc, transaction) == "pending"


async def test_a_reorg_beyond_the_first_block_is_refused(rpc: Rpc) -> None:
    with pytest.raises(NodeRefused, match="cannot replace 9999 blocks"):
        await rpc.call("node_reorg", {"depth": 9_999})
    with pytest.raises(NodeRefused, match="depth"):
        await rpc.call("node_reorg", {"deep": 2})


async def test_finality_follows_the_head_and_stands_still_on_demand(
    node: PolygonNode, rpc: Rpc
) -> None:
    head = await node.mine()
    assert await fetch_number(rpc, "finalized") == head - 4
    assert await fetch_number(rpc, "safe") == head - 2

    await rpc.call("node_stallFinality", True)
    await node.mine(5)

    assert await fetch_number(rpc, "finalized") == head - 4
    assert await fetch_number(rpc, "safe") == head - 2
    assert await fetch_number(rpc, "latest") == head + 5
    await rpc.call("node_stallFinality", False)
    assert await fetch_number(rpc, "finalized") == head + 1


async def fetch_number(rpc: Rpc, tag: str) -> int:
    block = await rpc.call("eth_getBlockByNumber", tag, False)
    return int(block["number"], 16)
