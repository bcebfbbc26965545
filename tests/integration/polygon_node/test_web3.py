"""An unmodified web3 client works with the node."""

from typing import Any

import pytest
from eth_typing import HexStr
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError
from web3.types import TxParams, Wei

from services.paper_venue.polygon_node.node import PolygonNode
from tests.integration.polygon_node.senders import Sender
from tests.signed_transactions import GWEI, sign_transfer

pytestmark = pytest.mark.integration

REVERTING_CODE = "0x60006000fd"


async def test_web3_fills_in_signs_sends_and_finds_the_receipt(
    node: PolygonNode, sender: Sender
) -> None:
    web3 = AsyncWeb3(AsyncHTTPProvider(node.url))
    account = sender.account
    try:
        tip = await web3.eth.max_priority_fee
        base_fee = (await web3.eth.get_block("latest"))["baseFeePerGas"]
        filled: TxParams = {
            "chainId": await web3.eth.chain_id,
            "from": account.address,
            "to": account.address,
            "value": Wei(1),
            "nonce": await web3.eth.get_transaction_count(account.address, "pending"),
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": Wei(2 * base_fee + tip),
        }
        filled["gas"] = await web3.eth.estimate_gas(filled)
        unsigned: dict[str, Any] = {**filled}
        signed = account.sign_transaction(unsigned)

        tx_hash = await web3.eth.send_raw_transaction(signed.raw_transaction)
        pooled = await web3.eth.get_transaction(tx_hash)
        with pytest.raises(TransactionNotFound):
            await web3.eth.get_transaction_receipt(tx_hash)
        await node.mine()
        receipt = await web3.eth.wait_for_transaction_receipt(tx_hash)

        assert (pooled["from"], pooled["nonce"]) == (account.address, 0)
        assert pooled.get("blockNumber") is None
        assert receipt["status"] == 1
        assert receipt["effectiveGasPrice"] == base_fee + tip
        assert await web3.eth.gas_price >= base_fee + 25 * GWEI
    finally:
        await web3.provider.disconnect()


async def test_web3_reads_the_fee_history(node: PolygonNode, sender: Sender) -> None:
    web3 = AsyncWeb3(AsyncHTTPProvider(node.url))
    try:
        await sender.send(0, max_fee=300, tip=40)
        await node.mine()

        history = await web3.eth.fee_history(3, "latest", [10, 60])

        assert history["baseFeePerGas"] == [100 * GWEI] * 4
        assert history["reward"] == [[0, 0], [0, 0], [40 * GWEI, 40 * GWEI]]
        assert [ratio > 0 for ratio in history["gasUsedRatio"]] == [False, False, True]
        assert await web3.eth.max_priority_fee >= 25 * GWEI
    finally:
        await web3.provider.disconnect()


async def test_web3_gets_errors_with_their_data(node: PolygonNode, sender: Sender) -> None:
    web3 = AsyncWeb3(AsyncHTTPProvider(node.url))
    unpayable = sign_transfer(sender.account, 0, value=10**30)
    contract = web3.to_checksum_address("0x" + "77" * 20)
    try:
        await node.upstream.call("anvil_setCode", contract, REVERTING_CODE)

        with pytest.raises(ContractLogicError):
            await web3.eth.call({"to": contract})
        with pytest.raises(Web3RPCError, match="insufficient funds"):
            await web3.eth.send_raw_transaction(HexStr(unpayable.raw))
    finally:
        await web3.provider.disconnect()
