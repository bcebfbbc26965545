"""Sends transactions of local keys and waits until they are mined, in any mining mode."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from shared.chain.addresses import POLYGON_CHAIN_ID
from shared.chain.rpc import NodeRefused, Rpc

GAS_BALANCE_WEI = hex(2**128)
# Above any local base fee: a transaction of the venue never has to be replaced.
_MAX_FEE_WEI = 10**14
_MAX_TIP_WEI = 30 * 10**9
_MINING_TIMEOUT_S = 60
_POLL_INTERVAL_S = 0.005
_POLLS_BEFORE_MINING_AGAIN = 50
_POLLS_BEFORE_SENDING_AGAIN = 200
_SMALL_GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one transaction does. ``gas`` is its limit, never estimated."""

    to: str
    data: bytes
    gas: int = 300_000


_ALREADY_KNOWN = ("already imported", "already known", "nonce too low")


class TransactionReverted(Exception):
    """A transaction was mined and failed, or was not mined in time."""


def sign_call(account: LocalAccount, call: Call, nonce: int) -> tuple[str, str]:
    """Return the transaction's hash and its raw bytes, both 0x hex."""
    signed = account.sign_transaction(
        {
            "chainId": POLYGON_CHAIN_ID,
            "type": 2,
            "nonce": nonce,
            "to": to_checksum_address(call.to),
            "data": call.data,
            "value": 0,
            "gas": call.gas,
            "maxFeePerGas": _MAX_FEE_WEI,
            "maxPriorityFeePerGas": _MAX_TIP_WEI,
        }
    )
    return signed.hash.to_0x_hex(), signed.raw_transaction.to_0x_hex()


def is_already_known(refused: NodeRefused) -> bool:
    """Whether anvil refused a transaction because it has it already, or its nonce is mined already.

    In both cases the receipt shows the outcome.
    """
    return any(text in refused.text.lower() for text in _ALREADY_KNOWN)


def local_account(key: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(key)
    return account


async def send_and_mine(
    rpc: Rpc, calls: Sequence[tuple[LocalAccount, Call]]
) -> list[dict[str, Any]]:
    """Send every call from its account, in order, and return the receipts.

    Raises: TransactionReverted, Transient.
    """
    accounts = {account.address: account for account, _ in calls}
    counts = await rpc.call_batch(
        [("eth_getTransactionCount", [address, "pending"]) for address in accounts]
    )
    nonces = {address: int(count, 16) for address, count in zip(accounts, counts, strict=True)}
    signed = []
    for account, call in calls:
        signed.append(sign_call(account, call, nonces[account.address]))
        nonces[account.address] += 1
    await rpc.call_batch([("eth_sendRawTransaction", [raw]) for _, raw in signed])
    return await wait_until_mined(rpc, signed, senders=list(accounts))


async def wait_until_mined(
    rpc: Rpc, signed: Sequence[tuple[str, str]], *, senders: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the receipts once all are mined; on a node that does not mine by itself, mine them.

    ``signed``: the hash and the raw bytes of each transaction, all of them sent by ``senders``.
    Raises: TransactionReverted, Transient.
    """
    if not signed:
        return []
    automines = await rpc.call("anvil_getAutomine")
    # An automining node is asked to mine too: one block for many transactions is faster than one
    # for each. Asked too often, it mines empty blocks later; asked only once, it has been seen to
    # leave some of many transactions pending for good. So it is asked now and then.
    polls = count() if len(signed) > _SMALL_GROUP else count(1)
    try:
        async with asyncio.timeout(_MINING_TIMEOUT_S):
            while not all(
                receipts := await rpc.call_batch(
                    [("eth_getTransactionReceipt", [tx_hash]) for tx_hash, _ in signed]
                )
            ):
                poll = next(polls)
                if poll and poll % _POLLS_BEFORE_SENDING_AGAIN == 0:
                    missing = [
                        each
                        for each, receipt in zip(signed, receipts, strict=True)
                        if receipt is None
                    ]
                    await _send_again(rpc, missing, senders)
                mine_now = not automines or poll % _POLLS_BEFORE_MINING_AGAIN == 0
                await (rpc.call("evm_mine") if mine_now else asyncio.sleep(_POLL_INTERVAL_S))
    except TimeoutError:
        raise TransactionReverted(
            f"not all of {len(signed)} transactions were mined within {_MINING_TIMEOUT_S} s"
        ) from None
    failed = [receipt["transactionHash"] for receipt in receipts if int(receipt["status"], 16) != 1]
    if failed:
        raise TransactionReverted(
            f"{len(failed)} of {len(signed)} transactions failed, the first is {failed[0]}"
        )
    return receipts


async def _send_again(rpc: Rpc, signed: Sequence[tuple[str, str]], senders: Sequence[str]) -> None:
    """Remove the senders' transactions from the node's pool, and send these again.

    anvil (1.7.1) can keep a transaction queued for good although its nonce is the account's next,
    if the one before it is mined just when it arrives. To drop or to send it alone does not help.
    """
    for sender in senders:
        await rpc.call("anvil_removePoolTransactions", sender)
    for _, raw in signed:
        try:
            await rpc.call("eth_sendRawTransaction", raw)
        except NodeRefused as refused:
            if not is_already_known(refused):
                raise


class Sender:
    """Sends one local key's transactions, one group at a time, so that nonces never collide."""

    def __init__(self, rpc: Rpc, account: LocalAccount) -> None:
        self._rpc = rpc
        self._account = account
        self._lock = asyncio.Lock()

    @property
    def address(self) -> str:
        return self._account.address

    async def send(self, *calls: Call) -> list[dict[str, Any]]:
        """Send the calls in order and return their receipts.

        Raises: TransactionReverted, Transient.
        """
        async with self._lock:
            return await send_and_mine(self._rpc, [(self._account, call) for call in calls])
