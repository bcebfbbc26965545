"""Where does a key's Safe stand, and what does its owner sign so that the Safe acts?

Safe 1.3.0 with one owner, as Polymarket's factory makes them. Gas refunds are never used: with
safeTxGas 0 a failing call reverts the whole transaction and leaves the Safe's nonce unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from shared.chain.addresses import POLYGON_CHAIN_ID

CALL, DELEGATE_CALL = 0, 1

# polymarket-client 0.14.0, wallet derivation for Polygon, read 2026-11-22.
_SAFE_FACTORY = bytes.fromhex("aacFeEa03eb1561C4e67d661e40682Bd20E3541b")
_INIT_CODE_HASH = bytes.fromhex("2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf")
_NOBODY = "0x" + "00" * 20
_DOMAIN_TYPE_HASH = keccak(text="EIP712Domain(uint256 chainId,address verifyingContract)")
_SAFE_TX_TYPE_HASH = keccak(
    text="SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,"
    "address gasToken,address refundReceiver,uint256 nonce)"
)
_EXEC_SELECTOR = keccak(
    text="execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
)[:4]
_MULTISEND_SELECTOR = keccak(text="multiSend(bytes)")[:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeCall:
    """One call of a batch."""

    to: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeTransaction:
    """What a Safe shall do. A batch is a DELEGATE_CALL to the multisend contract."""

    to: str
    data: bytes
    operation: int = CALL


def safe_address(owner: str) -> str:
    """Return the address of the key's Safe (CREATE2 by Polymarket's factory)."""
    salt = keccak(encode(["address"], [owner]))
    return to_checksum_address(keccak(b"\xff" + _SAFE_FACTORY + salt + _INIT_CODE_HASH)[12:])


def safe_hash(
    safe: str, transaction: SafeTransaction, *, nonce: int, chain_id: int = POLYGON_CHAIN_ID
) -> bytes:
    """Return the digest that the owner signs. It is the transaction's identity: a Safe takes it
    once.
    """
    domain = keccak(encode(["bytes32", "uint256", "address"], [_DOMAIN_TYPE_HASH, chain_id, safe]))
    struct = encode(
        [
            "bytes32",
            "address",
            "uint256",
            "bytes32",
            "uint8",
            "uint256",
            "uint256",
            "uint256",
            "address",
            "address",
            "uint256",
        ],
        [
            _SAFE_TX_TYPE_HASH,
            transaction.to,
            0,
            keccak(transaction.data),
            transaction.operation,
            0,
            0,
            0,
            _NOBODY,
            _NOBODY,
            nonce,
        ],
    )
    return keccak(b"\x19\x01" + domain + keccak(struct))


def encode_exec(transaction: SafeTransaction, signature: bytes) -> bytes:
    """Return the calldata by which anybody can let the Safe do what its owner signed."""
    types = [
        "address",
        "uint256",
        "bytes",
        "uint8",
        "uint256",
        "uint256",
        "uint256",
        "address",
        "address",
        "bytes",
    ]
    return _EXEC_SELECTOR + encode(
        types,
        [
            transaction.to,
            0,
            transaction.data,
            transaction.operation,
            0,
            0,
            0,
            _NOBODY,
            _NOBODY,
            signature,
        ],
    )


def encode_multisend(calls: Sequence[SafeCall]) -> bytes:
    """Return the multisend calldata of a batch: per call operation (1 byte), to (20), value (32),
    length (32), data.
    """
    packed = b"".join(
        bytes([CALL])
        + bytes.fromhex(call.to.removeprefix("0x"))
        + bytes(32)
        + len(call.data).to_bytes(32, "big")
        + call.data
        for call in calls
    )
    return _MULTISEND_SELECTOR + encode(["bytes"], [packed])
