"""Signs and sends the transactions that settle matches; a hash is known before it is sent."""

from typing import Self

from services.paper_venue.chain.calldata import encode_match_orders
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import Call, is_already_known, sign_call
from services.paper_venue.lifecycle.settlement import Receipt, Settlement, SignedTransaction
from shared.chain.rpc import NodeRefused

# Measured on anvil: 130,000 to 200,000 for a swap, up to 420,000 for a mint between Safes; a
# further maker costs a little less.
_GAS_BASE = 150_000
_GAS_PER_MAKER = 350_000
_MAX_GAS = 16_000_000


def _min_gas_to_be_mined(data: bytes) -> int:
    """The smallest gas limit that a node accepts for this calldata (EIP-7623). It is a tenth of
    what a match needs, so the transaction is mined and fails.
    """
    zeros = data.count(0)
    return 21_000 + 10 * (zeros + 4 * (len(data) - zeros))


class Settler:
    """The operator's only signer. Nonces follow the order of `sign` calls, so every signed
    transaction must be sent.
    """

    def __init__(self, deployment: Deployment, *, next_nonce: int) -> None:
        self._rpc = deployment.rpc
        self._operator = deployment.operator
        self._next_nonce = next_nonce

    @classmethod
    async def start(cls, deployment: Deployment) -> Self:
        """Continue after the operator's last transaction that the node knows. Raises: Transient."""
        count = await deployment.rpc.call(
            "eth_getTransactionCount", deployment.operator.address, "pending"
        )
        return cls(deployment, next_nonce=int(count, 16))

    def sign(self, settlement: Settlement, *, fails: bool = False) -> SignedTransaction:
        """Sign the match with the next nonce, without asking the node; the hash is final.
        ``fails``: give it too little gas, so that it is mined and fails.
        """
        data = encode_match_orders(settlement)
        enough = min(_GAS_BASE + _GAS_PER_MAKER * len(settlement.makers), _MAX_GAS)
        call = Call(
            to=settlement.exchange, data=data, gas=_min_gas_to_be_mined(data) if fails else enough
        )
        tx_hash, raw = sign_call(self._operator, call, self._next_nonce)
        self._next_nonce += 1
        return SignedTransaction(hash=tx_hash, raw=raw, nonce=self._next_nonce - 1)

    async def send(self, transaction: SignedTransaction) -> None:
        """Send it to the node; sending it again is harmless.

        Raises: Transient (send the same transaction again).
        """
        try:
            await self._rpc.call("eth_sendRawTransaction", transaction.raw)
        except NodeRefused as refused:
            if not is_already_known(refused):
                raise

    async def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        """Fetch its receipt; None: it is not in a block. Raises: Transient."""
        answer = await self._rpc.call("eth_getTransactionReceipt", tx_hash)
        return (
            None
            if answer is None
            else Receipt(
                block_number=int(answer["blockNumber"], 16), status=int(answer["status"], 16)
            )
        )
