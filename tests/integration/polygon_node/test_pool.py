"""The node keeps, refuses and replaces transactions as Polygon does."""

import pytest

from services.paper_venue.polygon_node.node import PolygonNode
from shared.chain.rpc import Rpc
from tests.integration.polygon_node.senders import Sender, fetch_state, fund_sender
from tests.signed_transactions import GWEI, sign_transfer

pytestmark = pytest.mark.integration


async def test_what_is_below_the_base_fee_is_held_until_it_is_replaced(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    first = await sender.send(0, max_fee=40, tip=30)

    await node.mine(3)

    assert await fetch_state(rpc, first) == "pending"
    assert (await sender.count("latest"), await sender.count("pending")) == (0, 1)
    underpriced = (-32000, "replacement transaction underpriced")
    assert await sender.fetch_refusal(0, max_fee=42, tip=31.5) == underpriced
    assert await sender.fetch_refusal(0, max_fee=44, tip=32) == underpriced
    second = await sender.send(0, max_fee=44, tip=33)
    await node.mine()
    assert await fetch_state(rpc, second) == "pending"
    assert await fetch_state(rpc, first) == "unknown"
    third = await sender.send(0, max_fee=220, tip=36.3)
    await node.mine()
    assert await fetch_state(rpc, third) == "mined"
    assert await fetch_state(rpc, second) == "unknown"
    assert await sender.count("latest") == 1


async def test_a_base_fee_that_comes_down_lets_it_in(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    transaction = await sender.send(0, max_fee=90, tip=30)
    await node.mine()
    assert await fetch_state(rpc, transaction) == "pending"

    node.set_base_fee(60 * GWEI)
    await node.mine()

    assert await fetch_state(rpc, transaction) == "mined"
    receipt = await rpc.call("eth_getTransactionReceipt", transaction.hash)
    assert int(receipt["effectiveGasPrice"], 16) == 90 * GWEI


async def test_without_a_given_base_fee_an_empty_block_lowers_it_by_a_64th(
    node: PolygonNode, rpc: Rpc
) -> None:
    node.set_base_fee(64 * GWEI)
    await node.mine()
    node.set_base_fee(None)

    await node.mine(2)

    block = await rpc.call("eth_getBlockByNumber", "latest", False)
    assert int(block["baseFeePerGas"], 16) == 64 * GWEI * 63 * 63 // 64 // 64


async def test_what_is_behind_a_gap_waits_until_the_gap_is_filled(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    behind = await sender.send(1)
    await node.mine()
    status = await rpc.call("txpool_status")
    assert (await fetch_state(rpc, behind), await sender.count("pending")) == ("pending", 0)
    assert status == {"pending": "0x0", "queued": "0x1"}

    filler = await sender.send(0)
    content = await rpc.call("txpool_content")
    assert await sender.count("pending") == 2
    await node.mine()

    assert list(content["pending"][sender.account.address]) == ["0", "1"]
    assert await fetch_state(rpc, filler) == "mined"
    assert await fetch_state(rpc, behind) == "mined"


async def test_a_dropped_transaction_is_unknown_and_its_bytes_can_be_sent_again(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    transaction = await sender.send(0)
    assert await rpc.call("node_dropTransaction", transaction.hash) == transaction.raw
    assert await rpc.call("anvil_dropTransaction", transaction.hash) is None
    await node.mine()
    assert await fetch_state(rpc, transaction) == "unknown"

    assert await sender.resend(transaction) == transaction.hash
    assert await fetch_state(rpc, transaction) == "pending"
    await node.mine()

    assert await fetch_state(rpc, transaction) == "mined"


async def test_a_held_sender_is_pending_until_it_is_released(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    transaction = await sender.send(0)
    await rpc.call("node_hold", sender.account.address)
    await node.mine(2)
    assert await fetch_state(rpc, transaction) == "pending"

    await rpc.call("node_release", sender.account.address)
    await node.mine()

    assert await fetch_state(rpc, transaction) == "mined"


async def test_refusals_have_bors_code_and_text(node: PolygonNode, sender: Sender) -> None:
    mined = await sender.send(0)
    await node.mine()
    pooled = await sender.send(1)

    assert await sender.fetch_refusal(0) == (
        -32000,
        "nonce too low: next nonce 1, tx nonce 0",
    )
    assert await sender.fetch_refusal(1) == (-32000, "already known")
    assert await sender.fetch_refusal(2, tip=24) == (
        -32000,
        "transaction gas price below minimum: gas tip cap 24000000000, minimum needed 25000000000",
    )
    assert await sender.fetch_refusal(2, chainId=1) == (
        -32000,
        "invalid sender: invalid chain id for signer: have 1 want 137",
    )
    assert mined.nonce < pooled.nonce


async def test_many_of_one_block_are_ordered_by_tip_and_by_nonce(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    sent = [await sender.send(nonce, tip=30 + nonce, max_fee=300) for nonce in range(16)]
    assert await sender.fetch_refusal(16) == (-32000, "txpool is full")

    await node.mine()

    block = await rpc.call("eth_getBlockByNumber", "latest", False)
    assert block["transactions"] == [each.hash for each in sent]


async def test_who_pays_more_is_ahead_of_who_came_first(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    other = await fund_sender(rpc)
    sent = [await sender.send(nonce, tip=30 + nonce) for nonce in range(2)]
    best = await other.send(0, tip=60)

    await node.mine()

    block = await rpc.call("eth_getBlockByNumber", "latest", False)
    assert block["transactions"] == [best.hash, *(each.hash for each in sent)]


async def test_a_block_is_full_at_its_gas_limit(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    sent = [await sender.send(nonce, gas=25_000_000) for nonce in range(3)]

    await node.mine()

    assert [await fetch_state(rpc, each) for each in sent] == ["mined", "mined", "pending"]
    await node.mine()
    assert await fetch_state(rpc, sent[2]) == "mined"


async def test_a_node_in_front_of_an_automining_anvil_decides_what_is_mined(
    node: PolygonNode, rpc: Rpc, sender: Sender
) -> None:
    await rpc.call("evm_setAutomine", True)
    try:
        low, high = await sender.send(0, max_fee=126), await sender.send(1, max_fee=120)
        assert await fetch_state(rpc, low) == "pending"

        await node.mine()

        assert await fetch_state(rpc, low) == "mined"
        assert await fetch_state(rpc, high) == "pending"
    finally:
        await rpc.call("evm_setAutomine", False)
        await rpc.call("node_dropTransaction", high.hash)


async def test_clients_that_mine_by_anvils_methods_mine_from_the_pool(
    rpc: Rpc, sender: Sender
) -> None:
    first = await sender.send(0)
    await rpc.call("evm_mine")
    assert await fetch_state(rpc, first) == "mined"

    second = await sender.send(1)
    before = int(await rpc.call("eth_blockNumber"), 16)
    await rpc.call("anvil_mine", "0x3")

    assert await fetch_state(rpc, second) == "mined"
    assert int(await rpc.call("eth_blockNumber"), 16) == before + 3


async def test_raw_bytes_of_a_pooled_transaction_are_known(rpc: Rpc, sender: Sender) -> None:
    transaction = await sender.send(0)

    assert await rpc.call("eth_getRawTransactionByHash", transaction.hash) == transaction.raw
    content = await rpc.call("txpool_contentFrom", sender.account.address.lower())
    assert content["pending"]["0"]["hash"] == transaction.hash
    assert transaction == sign_transfer(sender.account, 0)
