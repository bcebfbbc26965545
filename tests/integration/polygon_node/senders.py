"""Accounts that sign and send transactions through a client."""

from dataclasses import dataclass
from itertools import count
from typing import Any

from eth_account.signers.local import LocalAccount

from services.paper_venue.polygon_node.transactions import Transaction
from shared.chain.rpc import NodeRefused, Rpc
from tests.signed_transactions import POL, create_account, sign_transfer

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """An account with money that has sent nothing before."""

    account: LocalAccount
    rpc: Rpc

    async def send(self, nonce: int, **fields: Any) -> Transaction:
        """Sign a transfer, send it and return it. Raises: NodeRefused."""
        transaction = sign_transfer(self.account, nonce, **fields)
        assert await self.resend(transaction) == transaction.hash
        return transaction

    async def resend(self, transaction: Transaction) -> str:
        """Send it as it is. Raises: NodeRefused."""
        answer: str = await self.rpc.call("eth_sendRawTransaction", transaction.raw)
        return answer

    async def fetch_refusal(self, nonce: int, **fields: Any) -> tuple[int, str]:
        """Send a transfer that is refused; the code and the text."""
        try:
            await self.send(nonce, **fields)
        except NodeRefused as refused:
            return refused.code, refused.text
        raise AssertionError("it was accepted")

    async def count(self, tag: str) -> int:
        """The next nonce, ``latest`` or ``pending``."""
        answer = await self.rpc.call("eth_getTransactionCount", self.account.address, tag)
        return int(answer, 16)


async def fund_sender(rpc: Rpc) -> Sender:
    account = create_account(next(_numbers))
    await rpc.call("anvil_setBalance", account.address, hex(10_000 * POL))
    return Sender(account=account, rpc=rpc)


async def fetch_state(rpc: Rpc, transaction: Transaction) -> str:
    """What a client sees of a transaction: mined, pending or unknown."""
    found = await rpc.call("eth_getTransactionByHash", transaction.hash)
    receipt = await rpc.call("eth_getTransactionReceipt", transaction.hash)
    if found is None:
        assert receipt is None
        return "unknown"
    assert (receipt is None) == (found["blockNumber"] is None)
    return "pending" if receipt is None else "mined"
