"""Parses requests to the relayer and checks that the wallet's owner has signed them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.http.auth import recover
from services.paper_venue.http.requests import BadRequest, checksummed
from shared.chain.addresses import POLYGON_CHAIN_ID, PROXY_FACTORY, RELAY_HUB, SAFE_FACTORY
from shared.chain.deposit_wallets import beacon_deposit_wallet_address, deposit_wallet_address
from shared.chain.proxy_wallets import proxy_wallet_address
from shared.chain.safes import SafeTransaction, encode_exec, safe_address, safe_hash

INVALID_SIGNATURE: Final = "invalid signature"
INVALID_WALLET: Final = "wallet registry validation failed"

_ZERO_ADDRESS = "0x" + "00" * 20
_EXECUTE_BATCH = "executeBatch(uint256,uint256,(address,uint256,bytes)[],bytes)"
_RELAY_CALL = "relayCall((address,address,bytes,uint256,uint256,uint256,uint256),bytes)"
_CALL = keccak(text="Call(address target,uint256 value,bytes data)")
_BATCH = keccak(
    text="Batch(address wallet,uint256 nonce,uint256 deadline,Call[] calls)"
    "Call(address target,uint256 value,bytes data)"
)
_BATCH_DOMAIN = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_FACTORY_DOMAIN = keccak(text="EIP712Domain(string name,uint256 chainId,address verifyingContract)")
_CREATE_PROXY = keccak(
    text="CreateProxy(address paymentToken,uint256 payment,address paymentReceiver)"
)


class RelayType(StrEnum):
    """What a request asks for, as clients spell it."""

    SAFE = "SAFE"
    PROXY = "PROXY"
    WALLET = "WALLET"
    SAFE_CREATE = "SAFE-CREATE"
    WALLET_CREATE = "WALLET-CREATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRequest:
    """A call to send, or a wallet to create (``to`` and ``data`` are empty then)."""

    type: RelayType
    owner: str
    wallet: str
    nonce: int = 0
    deadline: int | None = None
    """Epoch seconds on the chain's clock."""
    to: str = ""
    data: bytes = b""


def parse_relay_request(payload: Any, *, relay_address: str) -> RelayRequest:
    """Parse the body of ``POST /submit`` and check its signature. ``relay_address``: the sender.

    Raises: BadRequest.
    """
    try:
        parse = _PARSER_BY_TYPE[RelayType(payload["type"])]
        return parse(payload, checksummed(payload["from"]), relay_address)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadRequest("invalid request payload") from error


def candidate_wallets(owner: str, relay_type: RelayType) -> tuple[str, ...]:
    """The addresses that the owner's wallet of this kind can have; a new one gets the first."""
    if relay_type in (RelayType.SAFE, RelayType.SAFE_CREATE):
        return (safe_address(owner),)
    if relay_type is RelayType.PROXY:
        return (proxy_wallet_address(owner),)
    return beacon_deposit_wallet_address(owner), deposit_wallet_address(owner)


def _parse_safe(payload: Mapping[str, Any], owner: str, _: str) -> RelayRequest:
    if int(payload.get("value", 0)) != 0:
        raise BadRequest("value must be 0: wallets of this venue hold no gas money")
    wallet, nonce = (
        _parse_wallet(payload["proxyWallet"], owner, RelayType.SAFE),
        int(payload["nonce"]),
    )
    operation = int(payload["signatureParams"]["operation"])
    transaction = SafeTransaction(
        to=checksummed(payload["to"]), data=_parse_bytes(payload["data"]), operation=operation
    )
    signature = _parse_bytes(payload["signature"])
    _require_signed(safe_hash(wallet, transaction, nonce=nonce), signature, owner)
    return RelayRequest(
        type=RelayType.SAFE,
        owner=owner,
        wallet=wallet,
        nonce=nonce,
        to=wallet,
        data=encode_exec(transaction, signature),
    )


def _parse_deposit_wallet(payload: Mapping[str, Any], owner: str, _: str) -> RelayRequest:
    batch = payload["depositWalletParams"]
    wallet, nonce, deadline = (
        _parse_wallet(batch["depositWallet"], owner, RelayType.WALLET),
        int(payload["nonce"]),
        int(batch["deadline"]),
    )
    calls = [
        (checksummed(call["target"]), int(call["value"]), _parse_bytes(call["data"]))
        for call in batch["calls"]
    ]
    signature = _parse_bytes(payload["signature"])
    _require_signed(_batch_hash(wallet, nonce, deadline, calls), signature, owner)
    data = encode_call(_EXECUTE_BATCH, nonce, deadline, calls, signature)
    return RelayRequest(
        type=RelayType.WALLET,
        owner=owner,
        wallet=wallet,
        nonce=nonce,
        deadline=deadline,
        to=wallet,
        data=data,
    )


def _parse_proxy(payload: Mapping[str, Any], owner: str, relay_address: str) -> RelayRequest:
    wallet, nonce, terms = (
        _parse_wallet(payload["proxyWallet"], owner, RelayType.PROXY),
        int(payload["nonce"]),
        payload["signatureParams"],
    )
    if checksummed(payload["to"]) != PROXY_FACTORY or checksummed(terms["relayHub"]) != RELAY_HUB:
        raise BadRequest("a proxy wallet acts through its factory and the relay hub")
    numbers = [int(terms[name]) for name in ("relayerFee", "gasPrice", "gasLimit")] + [nonce]
    call, signature = _parse_bytes(payload["data"]), _parse_bytes(payload["signature"])
    words = b"".join(number.to_bytes(32, "big") for number in numbers)
    signed = (
        b"rlx:"
        + _parse_bytes(owner)
        + _parse_bytes(PROXY_FACTORY)
        + call
        + words
        + _parse_bytes(RELAY_HUB)
        + _parse_bytes(relay_address)
    )
    _require_signed(_personal_message_hash(keccak(signed)), signature, owner)
    data = encode_call(_RELAY_CALL, (owner, PROXY_FACTORY, call, *numbers), signature)
    return RelayRequest(
        type=RelayType.PROXY, owner=owner, wallet=wallet, nonce=nonce, to=RELAY_HUB, data=data
    )


def _parse_safe_creation(payload: Mapping[str, Any], owner: str, _: str) -> RelayRequest:
    wallet = _parse_wallet(payload["proxyWallet"], owner, RelayType.SAFE_CREATE)
    terms = payload["signatureParams"]
    payment = (
        checksummed(terms["paymentToken"]),
        int(terms["payment"]),
        checksummed(terms["paymentReceiver"]),
    )
    if payment != (_ZERO_ADDRESS, 0, _ZERO_ADDRESS):
        raise BadRequest("a Safe is created without payment")
    name = keccak(text="Polymarket Contract Proxy Factory")
    domain = keccak(
        encode(
            ["bytes32", "bytes32", "uint256", "address"],
            [_FACTORY_DOMAIN, name, POLYGON_CHAIN_ID, SAFE_FACTORY],
        )
    )
    struct = keccak(encode(["bytes32", "address", "uint256", "address"], [_CREATE_PROXY, *payment]))
    _require_signed(
        keccak(b"\x19\x01" + domain + struct), _parse_bytes(payload["signature"]), owner
    )
    return RelayRequest(type=RelayType.SAFE_CREATE, owner=owner, wallet=wallet)


def _parse_deposit_wallet_creation(_: Mapping[str, Any], owner: str, __: str) -> RelayRequest:
    """Needs no signature: the wallet belongs to the named owner, whoever requests it."""
    return RelayRequest(
        type=RelayType.WALLET_CREATE, owner=owner, wallet=beacon_deposit_wallet_address(owner)
    )


_PARSER_BY_TYPE = {
    RelayType.SAFE: _parse_safe,
    RelayType.WALLET: _parse_deposit_wallet,
    RelayType.PROXY: _parse_proxy,
    RelayType.SAFE_CREATE: _parse_safe_creation,
    RelayType.WALLET_CREATE: _parse_deposit_wallet_creation,
}


def _parse_wallet(text: str, owner: str, relay_type: RelayType) -> str:
    """Raises: BadRequest (not a wallet of the owner)."""
    wallet = checksummed(text)
    if wallet not in candidate_wallets(owner, relay_type):
        raise BadRequest(INVALID_WALLET)
    return wallet


def _batch_hash(
    wallet: str, nonce: int, deadline: int, calls: list[tuple[str, int, bytes]]
) -> bytes:
    hashes = b"".join(
        keccak(
            encode(["bytes32", "address", "uint256", "bytes32"], [_CALL, to, value, keccak(data)])
        )
        for to, value, data in calls
    )
    domain_fields = [
        _BATCH_DOMAIN,
        keccak(text="DepositWallet"),
        keccak(text="1"),
        POLYGON_CHAIN_ID,
        wallet,
    ]
    domain = keccak(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], domain_fields))
    batch = [_BATCH, wallet, nonce, deadline, keccak(hashes)]
    return keccak(
        b"\x19\x01"
        + domain
        + keccak(encode(["bytes32", "address", "uint256", "uint256", "bytes32"], batch))
    )


def _require_signed(digest: bytes, signature: bytes, owner: str) -> None:
    """Raises: BadRequest. As with a Safe, a last byte of 31 or 32 says that the digest was signed
    as a personal message.
    """
    try:
        if len(signature) == 65 and signature[64] in (31, 32):
            digest, signature = (
                _personal_message_hash(digest),
                signature[:64] + bytes([signature[64] - 4]),
            )
        is_signed = recover(digest, signature.hex()) == owner
    except ValueError as error:
        raise BadRequest(INVALID_SIGNATURE) from error
    if not is_signed:
        raise BadRequest(INVALID_SIGNATURE)


def _personal_message_hash(digest: bytes) -> bytes:
    return keccak(b"\x19Ethereum Signed Message:\n32" + digest)


def _parse_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
