"""What the relayer accepts, what it answers, and the states of accepted requests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from eth_account import Account
from eth_account.signers.local import LocalAccount
from polymarket._internal.actions.relayer.auth import build_builder_key_headers
from polymarket._internal.actions.relayer.calls import TransactionCall, encode_proxy_call
from polymarket._internal.actions.relayer.gasless import (
    build_deposit_wallet_payload,
    build_proxy_payload,
    build_safe_payload,
)
from polymarket._internal.actions.relayer.signing.deposit_wallet import sign_deposit_wallet_batch
from polymarket._internal.actions.relayer.signing.proxy import (
    build_proxy_transaction_hash,
    sign_proxy_message,
)
from polymarket._internal.actions.relayer.signing.safe import sign_safe_transaction
from polymarket._internal.actions.relayer.submit import (
    is_retryable_submit_error,
    onchain_nonce_from_submit_error,
)
from polymarket._internal.environment import PRODUCTION_CONFIG
from polymarket._internal.wallet import derive_beacon_deposit_wallet_address
from polymarket.auth import BuilderApiKey
from polymarket.errors import RequestRejectedError
from polymarket.types import EvmAddress, HexString

from services.paper_venue.http.auth import Denied
from services.paper_venue.http.requests import BadRequest
from services.paper_venue.http.responses import refusal_middleware
from services.paper_venue.lifecycle.settlement import Receipt
from services.paper_venue.relayer.api import RelayerApi
from services.paper_venue.relayer.keys import INVALID_AUTHORIZATION, RelayerKeys
from services.paper_venue.relayer.requests import (
    INVALID_SIGNATURE,
    RelayRequest,
    RelayType,
    parse_relay_request,
)
from services.paper_venue.relayer.sender import CallWouldRevert
from shared.chain.addresses import NEG_RISK_ADAPTER, PROXY_FACTORY, PUSD, RELAY_HUB, SAFE_FACTORY
from shared.chain.deposit_wallets import beacon_deposit_wallet_address
from shared.chain.proxy_wallets import proxy_wallet_address
from shared.chain.safes import safe_address
from shared.domain.errors import Transient
from shared.testing.waiting import eventually

OWNER: LocalAccount = Account.from_key("0x" + "11" * 32)
STRANGER: LocalAccount = Account.from_key("0x" + "22" * 32)
RELAY = EvmAddress("0x" + "33" * 20)
CALL = TransactionCall(to=EvmAddress(PUSD), data=HexString("0xabcdef"))
DEADLINE = 1_790_000_600
WALLET = EvmAddress(beacon_deposit_wallet_address(OWNER.address))


def safe_payload(signer: LocalAccount = OWNER) -> dict[str, Any]:
    safe = EvmAddress(safe_address(OWNER.address))
    call = {"data": CALL.data, "value": 0, "operation": 0, "nonce": "7"}
    signature = sign_safe_transaction(signer, safe_address=safe, to=CALL.to, chain_id=137, **call)  # type: ignore[arg-type]
    return dict(
        build_safe_payload(
            signer_address=OWNER.address,
            wallet=safe,
            target=CALL.to,
            signature=signature,
            metadata="",
            **call,  # type: ignore[arg-type]
        )
    )


def batch_payload(signer: LocalAccount = OWNER, *, nonce: int = 7) -> dict[str, Any]:
    signed = {"wallet": WALLET, "calls": [CALL], "nonce": str(nonce), "deadline": str(DEADLINE)}
    signature = sign_deposit_wallet_batch(signer, chain_id=137, **signed)  # type: ignore[arg-type]
    return dict(
        build_deposit_wallet_payload(
            signer_address=OWNER.address,
            deposit_wallet_factory=PUSD,
            signature=signature,
            metadata="",
            **signed,  # type: ignore[arg-type]
        )
    )


def proxy_payload(signer: LocalAccount = OWNER) -> dict[str, Any]:
    data, hub = encode_proxy_call([CALL]), EvmAddress(RELAY_HUB)
    digest = build_proxy_transaction_hash(
        from_address=EvmAddress(OWNER.address),
        to=EvmAddress(PROXY_FACTORY),
        data=data,
        relayer_fee="0",
        gas_price="0",
        gas_limit="9",
        nonce="7",
        relay_hub=hub,
        relay=RELAY,
    )
    return dict(
        build_proxy_payload(
            signer_address=OWNER.address,
            proxy_factory=PROXY_FACTORY,
            wallet=EvmAddress(proxy_wallet_address(OWNER.address)),
            data=data,
            nonce="7",
            signature=sign_proxy_message(signer, digest),
            gas_limit="9",
            relay=RELAY,
            relay_hub=hub,
            metadata="",
        )
    )


PAYLOADS = {"SAFE": safe_payload, "WALLET": batch_payload, "PROXY": proxy_payload}
CREATION = {"type": "WALLET-CREATE", "from": OWNER.address}


def test_the_relayers_addresses_are_those_of_the_client() -> None:
    client = PRODUCTION_CONFIG

    assert (client.relay_hub, client.neg_risk_adapter) == (RELAY_HUB, NEG_RISK_ADAPTER)
    assert client.wallet_derivation.safe_factory == SAFE_FACTORY
    assert derive_beacon_deposit_wallet_address(OWNER.address, client.wallet_derivation) == WALLET


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_request_that_the_client_signed_is_accepted_for_its_own_wallet(name: str) -> None:
    payload = PAYLOADS[name]()

    relay = parse_relay_request(payload, relay_address=RELAY)

    wallet = {
        "SAFE": safe_address(OWNER.address),
        "WALLET": WALLET,
        "PROXY": proxy_wallet_address(OWNER.address),
    }[name]
    assert (relay.type, relay.owner, relay.wallet, relay.nonce) == (
        RelayType(name),
        OWNER.address,
        wallet,
        7,
    )
    assert relay.to == (RELAY_HUB if name == "PROXY" else wallet)


@pytest.mark.parametrize("name", PAYLOADS)
def test_another_key_cannot_sign_for_the_owner(name: str) -> None:
    with pytest.raises(BadRequest, match=INVALID_SIGNATURE):
        parse_relay_request(PAYLOADS[name](STRANGER), relay_address=RELAY)


@pytest.mark.parametrize(
    ("name", "path", "changed"),
    [
        ("SAFE", ["to"], "0x" + "44" * 20),
        ("SAFE", ["data"], "0xabcdee"),
        ("SAFE", ["nonce"], "8"),
        ("SAFE", ["signatureParams", "operation"], "1"),
        ("WALLET", ["nonce"], "8"),
        ("WALLET", ["depositWalletParams", "deadline"], str(DEADLINE + 1)),
        ("WALLET", ["depositWalletParams", "calls", 0, "target"], "0x" + "44" * 20),
        ("WALLET", ["depositWalletParams", "calls", 0, "value"], "1"),
        ("WALLET", ["depositWalletParams", "calls", 0, "data"], "0x"),
        ("PROXY", ["data"], "0xabcdee"),
        ("PROXY", ["nonce"], "8"),
        ("PROXY", ["signatureParams", "gasLimit"], "10"),
        ("PROXY", ["signatureParams", "relayerFee"], "1"),
        ("SAFE", ["signature"], "0x" + "00" * 65),
        ("WALLET", ["signature"], "0x1234"),
    ],
)
def test_no_signed_field_can_be_changed(name: str, path: list[Any], changed: str) -> None:
    payload = json.loads(json.dumps(PAYLOADS[name]()))
    part = payload
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = changed

    with pytest.raises(BadRequest, match=INVALID_SIGNATURE):
        parse_relay_request(payload, relay_address=RELAY)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"type": "SAFE"},
        {"type": "OTHER", "from": OWNER.address},
        {"type": "WALLET-CREATE", "from": 5},
    ],
)
def test_a_malformed_request_is_refused(payload: Any) -> None:
    with pytest.raises(BadRequest, match="invalid request payload"):
        parse_relay_request(payload, relay_address=RELAY)


def test_a_relayer_key_is_accepted_only_with_its_own_address() -> None:
    keys = RelayerKeys(secret=b"of this test")
    headers = {
        "RELAYER_API_KEY": keys.relayer_key(OWNER.address),
        "RELAYER_API_KEY_ADDRESS": OWNER.address,
    }

    keys.check(headers, method="POST", path="/submit", body=b"")
    for wrong in (
        {},
        headers | {"RELAYER_API_KEY_ADDRESS": STRANGER.address},
        headers | {"RELAYER_API_KEY": ""},
    ):
        with pytest.raises(Denied, match=INVALID_AUTHORIZATION):
            keys.check(wrong, method="POST", path="/submit", body=b"")


def test_a_builder_signs_the_exact_bytes() -> None:
    keys = RelayerKeys(secret=b"of this test")
    builder = keys.builder_key(OWNER.address)
    credentials = BuilderApiKey(
        key=builder.key, secret=builder.secret, passphrase=builder.passphrase
    )
    headers = build_builder_key_headers(
        creds=credentials, method="POST", path="/submit", body='{"a":1}'
    )

    keys.check(headers, method="POST", path="/submit", body=b'{"a":1}')
    for wrong, body in (
        (headers, b'{"a":2}'),
        (headers | {"POLY_BUILDER_PASSPHRASE": "x"}, b'{"a":1}'),
    ):
        with pytest.raises(Denied, match=INVALID_AUTHORIZATION):
            keys.check(wrong, method="POST", path="/submit", body=body)


@dataclass
class FakeChain:
    """A chain on which the test says which wallets are deployed and when calls are mined.
    ``failed_calls_first``: how many calls fail before the node is reachable.
    """

    owner_by_wallet: dict[str, str] = field(default_factory=lambda: {str(WALLET): OWNER.address})
    nonce: int = 7
    now: int = DEADLINE - 1
    reason: str = ""
    status: int | None = None
    failed_calls_first: int = 0
    sent: list[RelayRequest] = field(default_factory=list)

    @property
    def address(self) -> str:
        return RELAY

    async def fetch_owner(self, wallet: str) -> str | None:
        return self.owner_by_wallet.get(wallet)

    async def fetch_nonce(self, relay_type: RelayType, *, owner: str, wallet: str) -> int:
        return self.nonce

    async def fetch_time(self) -> int:
        if self.failed_calls_first:
            self.failed_calls_first -= 1
            raise Transient("the node is unreachable")
        return self.now

    async def broadcast(self, relay: RelayRequest) -> str:
        if self.reason:
            raise CallWouldRevert(self.reason)
        self.sent.append(relay)
        return "0x" + "ab" * 32

    async def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        return None if self.status is None else Receipt(block_number=1, status=self.status)


@dataclass
class RunningRelayer:
    """A relayer that answers over HTTP."""

    client: TestClient[Any, Any]
    keys: RelayerKeys

    async def submit(self, payload: dict[str, Any]) -> tuple[int, Any]:
        headers = {
            "RELAYER_API_KEY": self.keys.relayer_key(OWNER.address),
            "RELAYER_API_KEY_ADDRESS": OWNER.address,
        }
        answer = await self.client.post("/submit", json=payload, headers=headers)
        return answer.status, await answer.json()

    async def wait_for_state(self, submitted: dict[str, Any], state: str) -> dict[str, Any]:
        """The transaction's answer once it has this state."""

        async def reached() -> dict[str, Any] | None:
            answer = await self.client.get(f"/v1/account/transactions/{submitted['transactionID']}")
            transaction: dict[str, Any] = await answer.json()
            return transaction if transaction["state"] == state else None

        found: dict[str, Any] = await eventually(reached)
        return found


@asynccontextmanager
async def running(chain: FakeChain) -> AsyncIterator[RunningRelayer]:
    keys = RelayerKeys(secret=b"of this test")
    relayer = RelayerApi(chain, keys, confirm_delay_s=0)
    http = web.Application(middlewares=[refusal_middleware])
    http.add_routes(relayer.routes())
    work = asyncio.create_task(relayer.run())
    async with TestClient(TestServer(http)) as client:
        yield RunningRelayer(client, keys)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def as_client_error(answer: tuple[int, Any]) -> RequestRejectedError:
    """The answer as the official client reports it."""
    status, body = answer
    return RequestRejectedError(body["error"], status=status)


async def test_a_batch_goes_from_new_to_confirmed_and_is_sent_once() -> None:
    chain = FakeChain(failed_calls_first=2)
    async with running(chain) as relayer:
        status, submitted = await relayer.submit(batch_payload())
        sent = await relayer.wait_for_state(submitted, "STATE_EXECUTED")
        chain.status = 1
        confirmed = await relayer.wait_for_state(submitted, "STATE_CONFIRMED")

    assert (status, submitted["state"]) == (200, "STATE_NEW")
    assert sent["transaction_hash"] == confirmed["transaction_hash"] == "0x" + "ab" * 32
    assert len(chain.sent) == 1


async def test_a_wallet_is_busy_until_its_call_is_mined_and_the_client_retries() -> None:
    chain = FakeChain()
    async with running(chain) as relayer:
        _, first = await relayer.submit(batch_payload())
        busy = await relayer.submit(batch_payload(nonce=8))
        chain.status, chain.nonce = 1, 8
        await relayer.wait_for_state(first, "STATE_CONFIRMED")
        later = await relayer.submit(batch_payload(nonce=8))

    assert is_retryable_submit_error(as_client_error(busy))
    assert later[0] == 200


async def test_a_wrong_nonce_is_answered_with_the_right_one() -> None:
    chain = FakeChain(nonce=9)
    async with running(chain) as relayer:
        stale = await relayer.submit(batch_payload(nonce=7))
        right = await relayer.submit(batch_payload(nonce=9))

    assert onchain_nonce_from_submit_error(as_client_error(stale)) == "9"
    assert right[0] == 200, "the refused request leaves the wallet free"


@pytest.mark.parametrize(
    ("chain", "state", "error"),
    [
        (
            FakeChain(reason="execution reverted: GS013"),
            "STATE_FAILED",
            "execution reverted: GS013",
        ),
        (FakeChain(status=0), "STATE_FAILED", "transaction reverted"),
        (FakeChain(now=DEADLINE + 1), "STATE_INVALID", "deadline has passed"),
    ],
)
async def test_a_failed_request_says_why_and_frees_the_wallet(
    chain: FakeChain, state: str, error: str
) -> None:
    async with running(chain) as relayer:
        _, submitted = await relayer.submit(batch_payload())
        ended = await relayer.wait_for_state(submitted, state)
        again = await relayer.submit(batch_payload())

    assert ended["error_msg"] == error
    assert again[0] == 200


async def test_a_wallet_is_created_once_and_only_deployed_wallets_can_act() -> None:
    chain = FakeChain(owner_by_wallet={}, status=1)
    async with running(chain) as relayer:
        unknown = await relayer.submit(batch_payload())
        _, made = await relayer.submit(CREATION)
        await relayer.wait_for_state(made, "STATE_CONFIRMED")
        chain.owner_by_wallet[WALLET] = OWNER.address
        twice = await relayer.submit(CREATION)

    assert unknown == (400, {"error": "wallet registry validation failed"})
    assert [(relay.type, relay.wallet) for relay in chain.sent] == [
        (RelayType.WALLET_CREATE, WALLET)
    ]
    assert twice == (400, {"error": "wallet already deployed"})


async def test_requests_without_a_key_are_denied_and_unknown_ids_are_404() -> None:
    chain = FakeChain()
    async with running(chain) as relayer:
        denied = await relayer.client.post("/submit", json=batch_payload())
        body = await denied.json()
        unknown = await relayer.client.get("/v1/account/transactions/none")
        asked = await relayer.client.get("/v1/account/transactions/params")

    assert (denied.status, body) == (401, {"error": "invalid authorization"})
    assert (unknown.status, asked.status, chain.sent) == (404, 400, [])
