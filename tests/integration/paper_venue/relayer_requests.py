"""Requests to the relayer, signed as owners' clients sign them, and waiting for their result."""

from __future__ import annotations

from typing import Any

import aiohttp
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from polymarket._internal.actions.relayer.gasless import build_proxy_payload
from polymarket._internal.actions.relayer.signing.proxy import (
    build_proxy_transaction_hash,
    sign_proxy_message,
)
from polymarket.auth import RelayerApiKey
from polymarket.calls import (
    encode_proxy_call,
    erc20_transfer_call,
)
from polymarket.types import EvmAddress

from shared.chain.addresses import (
    PROXY_FACTORY,
    PUSD,
    RELAY_HUB,
    SAFE_FACTORY,
)
from shared.chain.proxy_wallets import proxy_wallet_address
from shared.chain.safes import safe_address
from shared.testing.waiting import eventually
from tests.integration.paper_venue.venue import PaperVenue

ZERO_ADDRESS = "0x" + "00" * 20


def make_key(name: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(keccak(text=f"relayer test {name}"))
    return account


def key_text(owner: LocalAccount) -> str:
    return "0x" + bytes(owner.key).hex()


async def fetch_relayer_keys(venue: PaperVenue, address: str) -> Any:
    return await venue.control(f"relayer-key?address={address}")


async def fetch_relayer_key(venue: PaperVenue, address: str) -> RelayerApiKey:
    return RelayerApiKey(**(await fetch_relayer_keys(venue, address))["relayer"])


async def submit(venue: PaperVenue, owner: str, body: dict[str, Any]) -> tuple[int, Any]:
    key = await fetch_relayer_key(venue, owner)
    headers = {"RELAYER_API_KEY": key.key, "RELAYER_API_KEY_ADDRESS": key.address}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{venue.urls['relayer']}/submit", json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


def build_safe_creation(owner: LocalAccount) -> dict[str, Any]:
    """The request of builders' clients for a new Safe; polymarket-client never sends it."""
    terms = {"paymentToken": ZERO_ADDRESS, "payment": 0, "paymentReceiver": ZERO_ADDRESS}
    fields = [("paymentToken", "address"), ("payment", "uint256"), ("paymentReceiver", "address")]
    signed = owner.sign_message(
        encode_typed_data(
            domain_data={
                "name": "Polymarket Contract Proxy Factory",
                "chainId": 137,
                "verifyingContract": SAFE_FACTORY,
            },
            message_types={"CreateProxy": [{"name": name, "type": of} for name, of in fields]},
            message_data=terms,
        )
    )
    return {
        "type": "SAFE-CREATE",
        "from": owner.address,
        "to": SAFE_FACTORY,
        "proxyWallet": safe_address(owner.address),
        "data": "0x",
        "signature": signed.signature.to_0x_hex(),
        "signatureParams": terms | {"payment": "0"},
    }


async def build_first_proxy_call(venue: PaperVenue, owner: LocalAccount) -> dict[str, Any]:
    """A proxy wallet's call, signed by the client's own functions; the first one creates the
    wallet.
    """
    data = encode_proxy_call(
        [
            erc20_transfer_call(
                token_address=EvmAddress(PUSD), recipient=EvmAddress(owner.address), amount=0
            )
        ]
    )
    async with aiohttp.ClientSession() as http:
        url = f"{venue.urls['relayer']}/relay-payload?address={owner.address}&type=PROXY"
        async with http.get(url) as answer:
            relay = await answer.json()
    hub, sender, gas_limit = EvmAddress(RELAY_HUB), EvmAddress(relay["address"]), "200000"
    digest = build_proxy_transaction_hash(
        from_address=EvmAddress(owner.address),
        to=EvmAddress(PROXY_FACTORY),
        data=data,
        relayer_fee="0",
        gas_price="0",
        gas_limit=gas_limit,
        nonce=relay["nonce"],
        relay_hub=hub,
        relay=sender,
    )
    return dict(
        build_proxy_payload(
            signer_address=owner.address,
            proxy_factory=PROXY_FACTORY,
            wallet=EvmAddress(proxy_wallet_address(owner.address)),
            data=data,
            nonce=relay["nonce"],
            signature=sign_proxy_message(owner, digest),
            gas_limit=gas_limit,
            relay=sender,
            relay_hub=hub,
            metadata="",
        )
    )


async def wait_until_final(venue: PaperVenue, submitted: dict[str, Any]) -> dict[str, Any]:
    """The transaction's answer, once its state is final."""
    url = f"{venue.urls['relayer']}/v1/account/transactions/{submitted['transactionID']}"

    async def final() -> dict[str, Any] | None:
        async with aiohttp.ClientSession(raise_for_status=True) as http, http.get(url) as answer:
            transaction: dict[str, Any] = await answer.json()
            return (
                transaction
                if transaction["state"] in ("STATE_CONFIRMED", "STATE_FAILED", "STATE_INVALID")
                else None
            )

    transaction: dict[str, Any] = await eventually(final)
    return transaction


async def prepare_wallet(venue: PaperVenue, kind: str, owner: LocalAccount) -> str | None:
    """The wallet address for a client; Safes and proxy wallets are created first. None: the client
    derives its own wallet.
    """
    if kind in ("safe", "proxy"):
        status, answer = await submit(
            venue,
            owner.address,
            build_safe_creation(owner)
            if kind == "safe"
            else await build_first_proxy_call(venue, owner),
        )
        assert (status, answer["state"]) == (200, "STATE_NEW")
        assert (await wait_until_final(venue, answer))["state"] == "STATE_CONFIRMED"
    return {
        "eoa": owner.address,
        "safe": safe_address(owner.address),
        "proxy": proxy_wallet_address(owner.address),
        "deposit": None,
    }[kind]
