"""How do other people's signed calls reach the chain at the relayer's cost, and how do their
wallets come to stand there?
"""

import asyncio
from typing import Any, Final, Self

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.converters import place_converters
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.sender import Call, local_account, sign_call
from services.paper_venue.chain.wallets import give_gas, owner_of
from services.paper_venue.lifecycle.settlement import Receipt
from services.paper_venue.relayer.requests import Relay, RelayType
from shared.chain.addresses import RELAY_HUB, SAFE_FALLBACK_HANDLER, SAFE_SINGLETON
from shared.chain.rpc import NodeRefused, Request
from shared.domain.errors import Transient

_NOBODY: Final = "0x" + "00" * 20
_SETUP: Final = "setup(address[],uint256,address,bytes,address,address,uint256,address)"
# An estimate is exact for the state that it was made on; another wallet's call may come before.
_SPARE_GAS: Final = 100_000
_RETRY_S: Final = 0.2
# anvil's words for "I have it already": the receipt tells the rest.
_ARRIVED: Final = ("already imported", "already known", "nonce too low")


class CallFails(Exception):
    """The node says that the call would revert; the text is its reason."""


class Relays:
    """The relayer's key. It pays for gas and decides nothing: what it sends, wallets check
    themselves.
    """

    def __init__(self, deployment: Deployment, account: LocalAccount, *, next_nonce: int) -> None:
        self._deployment = deployment
        self._rpc = deployment.rpc
        self._account = account
        self._next_nonce = next_nonce
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls, deployment: Deployment) -> Self:
        """Place what signed calls go through, and give the relayer gas money. Raises:
        MissingArtifact, Transient.
        """
        await place_converters(deployment)
        # Local paper money only: the key is public on purpose.
        account = local_account("0x" + keccak(text="slipstream paper venue: relayer").hex())
        await give_gas(deployment, [account.address])
        count = await deployment.rpc.call("eth_getTransactionCount", account.address, "pending")
        return cls(deployment, account, next_nonce=int(count, 16))

    @property
    def address(self) -> str:
        return self._account.address

    async def owner_of(self, wallet: str) -> str | None:
        """The key that may sign for the wallet; None: it does not stand. Raises: Transient."""
        return await owner_of(self._deployment, wallet)

    async def nonce_of(self, relay_type: RelayType, *, owner: str, wallet: str) -> int:
        """The nonce of what the owner signs next; 0 for a wallet that does not stand yet. Raises:
        Transient.
        """
        if relay_type is RelayType.PROXY:
            return await self._read(RELAY_HUB, encode_call("getNonce(address)", owner))
        return await self._read(wallet, encode_call("nonce()"))

    async def time(self) -> int:
        """The chain's clock, in epoch seconds. Raises: Transient."""
        (block,) = await self._rpc.call_batch([("eth_getBlockByNumber", ["latest", False])])
        return int(block["timestamp"], 16)

    async def broadcast(self, relay: Relay) -> str:
        """Send it once, and return its hash. Raises: CallFails (nothing was sent), Transient
        (nothing was sent).
        """
        if relay.type in (RelayType.SAFE_CREATE, RelayType.WALLET_CREATE):
            call = await self._placed(relay)
        else:
            if relay.type is RelayType.PROXY:
                await self._place_proxy(relay)
            call = Call(to=relay.to, data=relay.data)
        async with self._turn:
            gas = await self._estimate(call)
            tx_hash, raw = sign_call(
                self._account, Call(to=call.to, data=call.data, gas=gas), self._next_nonce
            )
            await self._send(raw)
            self._next_nonce += 1
        return tx_hash

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """None while it is not in a block. Raises: Transient."""
        answer = await self._rpc.call("eth_getTransactionReceipt", tx_hash)
        return (
            None
            if answer is None
            else Receipt(
                block_number=int(answer["blockNumber"], 16), status=int(answer["status"], 16)
            )
        )

    async def _placed(self, relay: Relay) -> Call:
        """Put the wallet's code where clients derive it, and return the call that gives it its
        owner.
        """
        if relay.type is RelayType.WALLET_CREATE:
            await self._rpc.call("anvil_setCode", relay.wallet, self._deployment.deposit_wallet)
            return Call(to=relay.wallet, data=encode_call("initialize(address)", relay.owner))
        await self._place(relay.wallet, self._deployment.safe_proxy, first_slot=SAFE_SINGLETON)
        arguments = ([relay.owner], 1, _NOBODY, b"", SAFE_FALLBACK_HANDLER, _NOBODY, 0, _NOBODY)
        return Call(to=relay.wallet, data=encode_call(_SETUP, *arguments))

    async def _place_proxy(self, relay: Relay) -> None:
        """A proxy wallet comes to be with the first call that it makes."""
        if await self._rpc.call("eth_getCode", relay.wallet, "latest") == "0x":
            await self._place(relay.wallet, self._deployment.proxy_wallet, first_slot=relay.owner)

    async def _place(self, wallet: str, code: str, *, first_slot: str) -> None:
        writes: list[Request] = [
            ("anvil_setCode", [wallet, code]),
            ("anvil_setStorageAt", [wallet, "0x0", "0x" + first_slot[2:].lower().rjust(64, "0")]),
        ]
        await self._rpc.call_batch(writes)

    async def _estimate(self, call: Call) -> int:
        asked = {
            "from": self._account.address,
            "to": to_checksum_address(call.to),
            "data": "0x" + call.data.hex(),
        }
        try:
            return int(await self._rpc.call("eth_estimateGas", asked), 16) + _SPARE_GAS
        except NodeRefused as refused:
            raise CallFails(refused.text) from refused

    async def _send(self, raw: str) -> None:
        """Until the node has it or refuses it: only then is it known whether its nonce is used."""
        while True:
            try:
                await self._rpc.call("eth_sendRawTransaction", raw)
            except NodeRefused as refused:
                if any(words in refused.text.lower() for words in _ARRIVED):
                    return
                raise
            except Transient:
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _read(self, contract: str, data: bytes) -> int:
        answer: Any = await self._rpc.call(
            "eth_call", {"to": contract, "data": "0x" + data.hex()}, "latest"
        )
        return int(answer, 16) if answer != "0x" else 0
