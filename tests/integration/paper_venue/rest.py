"""A raw REST client: it sends any request, and signed orders with any content."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from coincurve import PrivateKey
from eth_account import Account
from polymarket._internal.hmac import build_hmac_signature
from polymarket._internal.l1_auth import sign_api_key_auth

from shared.chain.addresses import EXCHANGE_V2
from shared.chain.orders import SignedOrder, order_hash
from tests.integration.paper_venue.venue import PaperVenue

USDC = SHARE = 1_000_000


@dataclass(frozen=True)
class Reply:
    status: int
    payload: Any
    headers: Mapping[str, str]

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.payload["error"]


@dataclass(frozen=True)
class RestClient:
    """An EOA with an API key."""

    venue: PaperVenue
    http: aiohttp.ClientSession
    address: str
    private_key: str
    credentials: Mapping[str, str]

    async def send(
        self, method: str, path: str, body: Any = None, *, sign: bool = True, **headers: str
    ) -> Reply:
        """``body`` is sent as JSON, bytes unchanged. ``headers`` replace those of the signature."""
        content = (
            body.decode()
            if isinstance(body, bytes)
            else ""
            if body is None
            else json.dumps(body, separators=(",", ":"))
        )
        signed = self._l2_headers(method, path.partition("?")[0], content) if sign else {}
        async with self.http.request(
            method, self.venue.urls["clob"] + path, data=content or None, headers=signed | headers
        ) as response:
            return Reply(response.status, await response.json(), dict(response.headers))

    def _l2_headers(self, method: str, path: str, content: str) -> dict[str, str]:
        now = int(time.time_ns() // 1_000_000_000)
        secret = self.credentials["secret"]
        return {
            "POLY_ADDRESS": self.address,
            "POLY_API_KEY": self.credentials["apiKey"],
            "POLY_PASSPHRASE": self.credentials["passphrase"],
            "POLY_TIMESTAMP": str(now),
            "POLY_SIGNATURE": build_hmac_signature(
                secret=secret, timestamp=now, method=method, path=path, body=content or None
            ),
        }

    def order(
        self,
        *,
        side: str = "BUY",
        gives: int = 5 * USDC,
        gets: int = 10 * SHARE,
        kind: str = "GTC",
        token: str | None = None,
        exchange: tuple[str, str] = (EXCHANGE_V2, "2"),
        expiration: int = 0,
        post_only: bool = False,
        **changes: Any,
    ) -> dict[str, Any]:
        """The body of ``POST /order``; ``changes`` are fields of the signed order."""
        unsigned = SignedOrder(
            salt=time.time_ns() % (1 << 53),
            maker=self.address,
            signer=self.address,
            token_id=int(token or self.venue.token()),
            maker_amount=gives,
            taker_amount=gets,
            side=0 if side == "BUY" else 1,
            signature_type=0,
            timestamp=time.time_ns() // 1_000_000,
            metadata="0x" + "00" * 32,
            builder="0x" + "00" * 32,
            signature="",
        )
        return self._body(
            self._signed(replace(unsigned, **changes), exchange),
            kind=kind,
            expiration=expiration,
            post_only=post_only,
        )

    def _signed(self, order: SignedOrder, exchange: tuple[str, str]) -> SignedOrder:
        raw = PrivateKey.from_hex(self.private_key.removeprefix("0x")).sign_recoverable(
            bytes.fromhex(order_hash(order, *exchange)[2:]), hasher=None
        )
        return replace(order, signature="0x" + raw[:64].hex() + f"{raw[64] + 27:02x}")

    def _body(
        self, order: SignedOrder, *, kind: str, expiration: int, post_only: bool
    ) -> dict[str, Any]:
        return {
            "deferExec": False,
            "order": {
                "builder": order.builder,
                "expiration": str(expiration),
                "maker": order.maker,
                "makerAmount": str(order.maker_amount),
                "metadata": order.metadata,
                "salt": order.salt,
                "side": "SELL" if order.side else "BUY",
                "signature": order.signature,
                "signatureType": order.signature_type,
                "signer": order.signer,
                "takerAmount": str(order.taker_amount),
                "timestamp": str(order.timestamp),
                "tokenId": str(order.token_id),
            },
            "orderType": kind,
            "owner": self.credentials["apiKey"],
            "postOnly": post_only,
        }

    async def set_faults(self, faults: Mapping[str, Mapping[str, Any]]) -> None:
        """Turn these faults on, for this client only, and all others off."""
        body = {name: {"only": self.address} | dict(options) for name, options in faults.items()}
        async with self.http.put(f"{self.venue.urls['control']}/faults", json=body) as response:
            assert response.status == 200, await response.text()

    async def clear_faults(self) -> None:
        """Turn all faults off."""
        async with self.http.delete(f"{self.venue.urls['control']}/faults") as response:
            assert response.status == 200, await response.text()


def l1_headers(private_key: str, nonce: int = 0) -> dict[str, str]:
    signature = sign_api_key_auth(
        Account.from_key(private_key),
        chain_id=137,
        timestamp=time.time_ns() // 1_000_000_000,
        nonce=nonce,
    )
    return {
        "POLY_ADDRESS": signature.address,
        "POLY_SIGNATURE": signature.signature,
        "POLY_TIMESTAMP": str(signature.timestamp),
        "POLY_NONCE": str(signature.nonce),
    }


@asynccontextmanager
async def rest_client(venue: PaperVenue, *, usdc: str = "1000") -> AsyncIterator[RestClient]:
    """A client of a new, funded EOA."""
    (account,) = await venue.control("accounts", {"kind": "eoa", "count": 1, "usdc": usdc})
    async with aiohttp.ClientSession() as http:
        async with http.post(
            venue.urls["clob"] + "/auth/api-key", headers=l1_headers(account["private_key"])
        ) as response:
            credentials = await response.json()
        yield RestClient(venue, http, account["proxy"], account["private_key"], credentials)
