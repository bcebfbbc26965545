"""Sends owners' signed calls to the chain at the relayer's cost, and deploys their wallets."""

import asyncio
from typing import Any, Final, Self

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import Deployment
from services.paper_venue.chain.periphery import place_periphery_contracts
from services.paper_venue.chain.sender import Call, is_already_known, local_account, sign_call
from services.paper_venue.chain.wallets import encode_safe_setup, fetch_owner, fund_gas
from services.paper_venue.lifecycle.settlement import Receipt
from services.paper_venue.relayer.requests import RelayRequest, RelayType
from shared.chain.addresses import RELAY_HUB, SAFE_SINGLETON
from shared.chain.rpc import NodeRefused, Request
from shared.domain.errors import Transient

# Gas is estimated on the current state; another wallet's call may be mined before.
_SPARE_GAS: Final = 100_000
_RETRY_DELAY_S: Final = 0.2


class CallWouldRevert(Exception):
    """The node says that the call would revert; the text is the reason."""


class RelaySender:
    """The relayer's own account. It pays for gas and decides nothing: the wallets check what it
    sends.
    """

    def __init__(self, deployment: Deployment, account: LocalAccount, *, next_nonce: int) -> None:
        self._deployment = deployment
        self._rpc = deployment.rpc
        self._account = account
        self._next_nonce = next_nonce
        self._send_lock = asyncio.Lock()

    @classmethod
    async def start(cls, deployment: Deployment) -> Self:
        """Place the contracts that signed calls go through, and give the relayer gas money.

        Raises: MissingArtifact, Transient.
        """
        await place_periphery_contracts(deployment)
        # Local paper money only: the key is public on purpose.
        account = local_account("0x" + keccak(text="slipstream paper venue: relayer").hex())
        await fund_gas(deployment, [account.address])
        count = await deployment.rpc.call("eth_getTransactionCount", account.address, "pending")
        return cls(deployment, account, next_nonce=int(count, 16))

    @property
    def address(self) -> str:
        return self._account.address

    async def fetch_owner(self, wallet: str) -> str | None:
        """The owner that signs for the wallet; None: it is not deployed. Raises: Transient."""
        return await fetch_owner(self._deployment, wallet)

    async def fetch_nonce(self, relay_type: RelayType, *, owner: str, wallet: str) -> int:
        """The nonce of the owner's next call; 0 for a wallet that is not deployed yet.

        Raises: Transient.
        """
        if relay_type is RelayType.PROXY:
            return await self._fetch_number(RELAY_HUB, encode_call("getNonce(address)", owner))
        return await self._fetch_number(wallet, encode_call("nonce()"))

    async def fetch_time(self) -> int:
        """The time of the latest block, in epoch seconds. Raises: Transient."""
        (block,) = await self._rpc.call_batch([("eth_getBlockByNumber", ["latest", False])])
        return int(block["timestamp"], 16)

    async def broadcast(self, relay: RelayRequest) -> str:
        """Send it once, and return the transaction's hash.

        Raises: CallWouldRevert, Transient; in both cases nothing was sent.
        """
        if relay.type in (RelayType.SAFE_CREATE, RelayType.WALLET_CREATE):
            call = await self._deploy_wallet(relay)
        else:
            if relay.type is RelayType.PROXY:
                await self._place_proxy(relay)
            call = Call(to=relay.to, data=relay.data)
        async with self._send_lock:
            gas = await self._estimate_gas(call)
            tx_hash, raw = sign_call(
                self._account, Call(to=call.to, data=call.data, gas=gas), self._next_nonce
            )
            await self._send(raw)
            self._next_nonce += 1
        return tx_hash

    async def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        """The receipt; None: it is not in a block yet. Raises: Transient."""
        answer = await self._rpc.call("eth_getTransactionReceipt", tx_hash)
        return (
            None
            if answer is None
            else Receipt(
                block_number=int(answer["blockNumber"], 16), status=int(answer["status"], 16)
            )
        )

    async def _deploy_wallet(self, relay: RelayRequest) -> Call:
        """Write the wallet's code where clients derive it, and return the call that sets its
        owner.
        """
        if relay.type is RelayType.WALLET_CREATE:
            await self._rpc.call("anvil_setCode", relay.wallet, self._deployment.deposit_wallet)
            return Call(to=relay.wallet, data=encode_call("initialize(address)", relay.owner))
        await self._place(relay.wallet, self._deployment.safe_proxy, first_slot=SAFE_SINGLETON)
        return Call(to=relay.wallet, data=encode_safe_setup(relay.owner))

    async def _place_proxy(self, relay: RelayRequest) -> None:
        """A proxy wallet is created by its first call."""
        if await self._rpc.call("eth_getCode", relay.wallet, "latest") == "0x":
            await self._place(relay.wallet, self._deployment.proxy_wallet, first_slot=relay.owner)

    async def _place(self, wallet: str, code: str, *, first_slot: str) -> None:
        writes: list[Request] = [
            ("anvil_setCode", [wallet, code]),
            ("anvil_setStorageAt", [wallet, "0x0", "0x" + first_slot[2:].lower().rjust(64, "0")]),
        ]
        await self._rpc.call_batch(writes)

    async def _estimate_gas(self, call: Call) -> int:
        transaction = {
            "from": self._account.address,
            "to": to_checksum_address(call.to),
            "data": "0x" + call.data.hex(),
        }
        try:
            return int(await self._rpc.call("eth_estimateGas", transaction), 16) + _SPARE_GAS
        except NodeRefused as refused:
            raise CallWouldRevert(refused.text) from refused

    async def _send(self, raw: str) -> None:
        """Send until the node accepts or refuses it: only then is the use of its nonce known."""
        while True:
            try:
                await self._rpc.call("eth_sendRawTransaction", raw)
            except NodeRefused as refused:
                if is_already_known(refused):
                    return
                raise
            except Transient:
                await asyncio.sleep(_RETRY_DELAY_S)
            else:
                return

    async def _fetch_number(self, contract: str, data: bytes) -> int:
        answer: Any = await self._rpc.call(
            "eth_call", {"to": contract, "data": "0x" + data.hex()}, "latest"
        )
        return int(answer, 16) if answer != "0x" else 0
