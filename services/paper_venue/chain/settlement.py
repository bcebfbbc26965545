"""How does a match become a transaction whose hash is known before it is sent?"""

from typing import Self

from services.paper_venue.chain.calldata import encode_match_orders
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import Call, sign_call
from services.paper_venue.lifecycle.settlement import Receipt, Settlement, SignedTransaction
from shared.chain.rpc import NodeRefused

# Measured on anvil: 130,000 to 200,000 for a swap, up to 420,000 for a mint between Safes; a
# further maker costs a little less.
_GAS_BASE = 150_000
_GAS_PER_MAKER = 350_000
_GAS_MAX = 16_000_000
# anvil's words for "I have it already" and "it, or another of that nonce, is mined": both are for
# the receipt to tell.
_ARRIVED = ("already imported", "already known", "nonce too low")


def _gas_to_be_mined(data: bytes) -> int:
    """The least that a node takes (EIP-7623): it leaves a match a tenth of what it needs, so that
    it is mined and fails.
    """
    zeros = data.count(0)
    return 21_000 + 10 * (zeros + 4 * (len(data) - zeros))


class Settler:
    """The operator's only signer. Nonces are given in the order of `sign`; every signed transaction
    must be sent.
    """

    def __init__(self, deployment: Deployment, *, next_nonce: int) -> None:
        self._rpc = deployment.rpc
        self._operator = deployment.operator
        self._next_nonce = next_nonce

    @classmethod
    async def start(cls, deployment: Deployment) -> Self:
        """Go on after the operator's last transaction that the node knows. Raises: Transient."""
        count = await deployment.rpc.call(
            "eth_getTransactionCount", deployment.operator.address, "pending"
        )
        return cls(deployment, next_nonce=int(count, 16))

    def sign(self, settlement: Settlement, *, fails: bool = False) -> SignedTransaction:
        """Sign the match with the next nonce, without asking anybody; the hash is final. ``fails``:
        with too little gas.
        """
        data = encode_match_orders(settlement)
        enough = min(_GAS_BASE + _GAS_PER_MAKER * len(settlement.makers), _GAS_MAX)
        call = Call(
            to=settlement.exchange, data=data, gas=_gas_to_be_mined(data) if fails else enough
        )
        tx_hash, raw = sign_call(self._operator, call, self._next_nonce)
        self._next_nonce += 1
        return SignedTransaction(hash=tx_hash, raw=raw, nonce=self._next_nonce - 1)

    async def send(self, transaction: SignedTransaction) -> None:
        """Hand it to the node; sending it again is harmless. Raises: Transient (send the same
        transaction again).
        """
        try:
            await self._rpc.call("eth_sendRawTransaction", transaction.raw)
        except NodeRefused as refused:
            if not any(words in refused.text.lower() for words in _ARRIVED):
                raise

    async def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        """Return what became of it; ``None`` while it is not in a block. Raises: Transient."""
        answer = await self._rpc.call("eth_getTransactionReceipt", tx_hash)
        return (
            None
            if answer is None
            else Receipt(
                block_number=int(answer["blockNumber"], 16), status=int(answer["status"], 16)
            )
        )
