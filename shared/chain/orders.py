"""Hashes of orders and the verification of their signatures.

The order struct and EIP-712 domain of Polymarket's exchanges V2 and V3. Written independently of
both client libraries, which the unit tests compare it with, so that it can verify their signatures
and ours.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from shared.chain.addresses import (
    EXCHANGE_V2,
    EXCHANGE_V3,
    NEG_RISK_EXCHANGE_V2,
    POLYGON_CHAIN_ID,
    SECOND_NEG_RISK_EXCHANGE_V2,
)
from shared.chain.proxy_wallets import proxy_wallet_address

DOMAIN_VERSION_BY_EXCHANGE: Final = {
    EXCHANGE_V2: "2",
    NEG_RISK_EXCHANGE_V2: "2",
    SECOND_NEG_RISK_EXCHANGE_V2: "2",
    EXCHANGE_V3: "3",
}
"""Version of the EIP-712 domain that orders for an exchange are signed under."""

BUY, SELL = 0, 1
EOA, POLY_PROXY, SAFE, DEPOSIT_WALLET = 0, 1, 2, 3

_HALF_CURVE_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_ORDER_TYPE = (
    b"Order(uint256 salt,address maker,address signer,uint256 tokenId,"
    b"uint256 makerAmount,uint256 takerAmount,uint8 side,uint8 signatureType,"
    b"uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_NESTED_TYPE = (
    b"TypedDataSign(Order contents,string name,string version,"
    b"uint256 chainId,address verifyingContract,bytes32 salt)" + _ORDER_TYPE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOrder:
    """An order as POST /order carries it.

    Amounts in base units (1e6), ``timestamp`` in ms, bytes as 0x hex.
    """

    salt: int
    maker: str
    signer: str
    token_id: int
    maker_amount: int
    taker_amount: int
    side: int
    signature_type: int
    timestamp: int
    metadata: str
    builder: str
    signature: str


@dataclass(frozen=True, slots=True)
class SignatureParts:
    """What a key has to do with an order."""

    order_hash: str
    """The order's id at the venue, 0x hex."""
    digest: bytes
    """What the key signs."""
    trailer: bytes
    """What follows the signature: empty but for deposit wallets."""


class InvalidSignature(Exception):
    """The order was not signed by the signer that it names, or not in a way that this version of
    the exchange accepts.
    """


def order_hash(
    order: SignedOrder, exchange: str, version: str, chain_id: int = POLYGON_CHAIN_ID
) -> str:
    """Return the venue's order id: the EIP-712 digest under the exchange's domain, 0x hex.

    ``version`` is that of the domain: "2" or "3".
    """
    return "0x" + _digest(_domain_separator(exchange, version, chain_id), _struct_hash(order)).hex()


def prepare_signature(
    order: SignedOrder, exchange: str, version: str, chain_id: int = POLYGON_CHAIN_ID
) -> SignatureParts:
    """Return what has to be signed for the order; its own signature is not looked at."""
    domain, contents = _domain_separator(exchange, version, chain_id), _struct_hash(order)
    digest = _digest(domain, contents)
    if order.signature_type != DEPOSIT_WALLET:
        return SignatureParts("0x" + digest.hex(), digest, b"")
    return SignatureParts(
        "0x" + digest.hex(),
        _nested_digest(order.maker, domain, contents, chain_id),
        _nested_trailer(domain, contents),
    )


def verify_order(
    order: SignedOrder,
    exchange: str,
    version: str,
    chain_id: int = POLYGON_CHAIN_ID,
    *,
    owner: str | None = None,
) -> str:
    """Return the order's hash if its signature is valid for its maker.

    An EOA (type 0) is maker and signer; the address of a proxy wallet (type 1) is derived from its
    key's. For a Safe (type 2) or deposit wallet (type 3) ``owner`` is the key's address that the
    caller knows to own ``maker``. Raises: InvalidSignature.
    """
    domain = _domain_separator(exchange, version, chain_id)
    contents = _struct_hash(order)
    digest = _digest(domain, contents)
    if order.signature_type == DEPOSIT_WALLET:
        _require(
            _same(order.maker, order.signer),
            "a deposit wallet must be the maker and the signer of its order",
        )
        _require(
            owner is not None and _same(_recover_nested(order, domain, contents, chain_id), owner),
            "not signed by the wallet's owner",
        )
        return "0x" + digest.hex()
    _require(
        _same(_recover(digest, _bytes(order.signature)), order.signer),
        "not signed by the order's signer",
    )
    _require_signer_owns_maker(order, owner)
    return "0x" + digest.hex()


def counter_amount(order: SignedOrder, fill: int) -> int:
    """Return how much of its taker asset the order receives for ``fill`` of its maker asset,
    rounded down as the exchange does.
    """
    return fill * order.taker_amount // order.maker_amount


def _require_signer_owns_maker(order: SignedOrder, owner: str | None) -> None:
    if order.signature_type == EOA:
        _require(_same(order.maker, order.signer), "the signer is not the maker")
    elif order.signature_type == POLY_PROXY:
        _require(
            _same(order.maker, proxy_wallet_address(order.signer)),
            "the maker is not the signer's proxy wallet",
        )
    elif order.signature_type == SAFE:
        _require(
            owner is not None and _same(order.signer, owner), "the signer does not own the Safe"
        )
    else:
        raise InvalidSignature(f"unknown signature type {order.signature_type}")


def _recover_nested(order: SignedOrder, domain: bytes, contents: bytes, chain_id: int) -> str:
    """Recover the signer of an ERC-7739 nested signature.

    Its layout: 65 bytes of signature, exchange domain, struct hash, type text, the text's length (2
    bytes).
    """
    signature = _bytes(order.signature)
    _require(
        signature[65:] == _nested_trailer(domain, contents),
        "the nested signature is for another order, exchange or version",
    )
    return _recover(_nested_digest(order.maker, domain, contents, chain_id), signature[:65])


def _nested_digest(maker: str, domain: bytes, contents: bytes, chain_id: int) -> bytes:
    """The digest that a deposit wallet's key signs: the order, nested in the wallet's own type."""
    wallet = _wallet_domain_start() + _word(chain_id) + _address(maker) + bytes(32)
    return _digest(domain, keccak(_type_hash(_NESTED_TYPE) + contents + wallet))


def _nested_trailer(domain: bytes, contents: bytes) -> bytes:
    return domain + contents + _ORDER_TYPE + len(_ORDER_TYPE).to_bytes(2, "big")


@lru_cache(maxsize=1)
def _wallet_domain_start() -> bytes:
    return keccak(b"DepositWallet") + keccak(b"1")


def _recover(digest: bytes, signature: bytes) -> str:
    """Return the checksummed signer of a 65-byte signature.

    A malleable (high s) signature is refused, as the exchange does.
    """
    _require(len(signature) == 65 and signature[64] in (27, 28), "malformed signature")
    _require(int.from_bytes(signature[32:64], "big") <= _HALF_CURVE_ORDER, "malleable signature")
    try:
        return (
            Signature(signature[:64] + bytes([signature[64] - 27]))
            .recover_public_key_from_msg_hash(digest)
            .to_checksum_address()
        )
    except (BadSignature, ValidationError) as error:
        raise InvalidSignature("malformed signature") from error


def _struct_hash(order: SignedOrder) -> bytes:
    return keccak(
        _type_hash(_ORDER_TYPE)
        + _word(order.salt)
        + _address(order.maker)
        + _address(order.signer)
        + _word(order.token_id)
        + _word(order.maker_amount)
        + _word(order.taker_amount)
        + _word(order.side)
        + _word(order.signature_type)
        + _word(order.timestamp)
        + _bytes32(order.metadata)
        + _bytes32(order.builder)
    )


@lru_cache(maxsize=16)
def _domain_separator(exchange: str, version: str, chain_id: int) -> bytes:
    return keccak(
        _type_hash(_DOMAIN_TYPE)
        + keccak(b"Polymarket CTF Exchange")
        + keccak(version.encode())
        + _word(chain_id)
        + _address(exchange)
    )


@lru_cache(maxsize=4)
def _type_hash(type_text: bytes) -> bytes:
    return keccak(type_text)


def _digest(domain: bytes, struct_hash: bytes) -> bytes:
    return keccak(b"\x19\x01" + domain + struct_hash)


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address(address: str) -> bytes:
    raw = _bytes(address)
    _require(len(raw) == 20, "malformed address")
    return bytes(12) + raw


def _bytes32(value: str) -> bytes:
    raw = _bytes(value)
    _require(len(raw) == 32, "a bytes32 field is not 32 bytes")
    return raw


def _bytes(value: str) -> bytes:
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except ValueError as error:
        raise InvalidSignature("a field is not hexadecimal") from error


def _same(a: str, b: str) -> bool:
    return a.lower() == b.lower()


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise InvalidSignature(reason)
