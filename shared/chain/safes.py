"""Addresses of Safes (signature type 2), and what an owner signs for a transaction of a Safe.

Safe 1.3.0 with one owner, as Polymarket's factory makes them. Gas refunds are never used: with
safeTxGas 0 a failing call reverts the whole transaction and leaves the Safe's nonce unchanged.
"""

from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from shared.chain.addresses import POLYGON_CHAIN_ID

CALL = 0
"""The Safe's operation of an ordinary call; 1 is a delegate call."""

# polymarket-client 0.14.0, wallet derivation for Polygon, read 2026-11-22.
_SAFE_FACTORY = bytes.fromhex("aacFeEa03eb1561C4e67d661e40682Bd20E3541b")
_INIT_CODE_HASH = bytes.fromhex("2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf")
_ZERO_ADDRESS = "0x" + "00" * 20
_DOMAIN_TYPE_HASH = keccak(text="EIP712Domain(uint256 chainId,address verifyingContract)")
_SAFE_TX_TYPE_HASH = keccak(
    text="SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,"
    "uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
)
_SAFE_TX_TYPES = (
    "bytes32,address,uint256,bytes32,uint8,uint256,uint256,uint256,address,address,uint256"
)
_EXEC_TYPES = "address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes"
_EXEC_SELECTOR = keccak(text=f"execTransaction({_EXEC_TYPES})")[:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeTransaction:
    """A call that a Safe makes. A batch is a delegate call to the multisend contract."""

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
    """Return the digest that the owner signs. It identifies the transaction: a Safe executes it at
    most once.
    """
    domain = keccak(encode(["bytes32", "uint256", "address"], [_DOMAIN_TYPE_HASH, chain_id, safe]))
    struct = encode(
        _SAFE_TX_TYPES.split(","),
        [
            _SAFE_TX_TYPE_HASH,
            transaction.to,
            0,
            keccak(transaction.data),
            transaction.operation,
            0,
            0,
            0,
            _ZERO_ADDRESS,
            _ZERO_ADDRESS,
            nonce,
        ],
    )
    return keccak(b"\x19\x01" + domain + keccak(struct))


def encode_exec(transaction: SafeTransaction, signature: bytes) -> bytes:
    """Return the calldata of execTransaction, which anybody may send: the Safe checks the owner's
    signature.
    """
    return _EXEC_SELECTOR + encode(
        _EXEC_TYPES.split(","),
        [
            transaction.to,
            0,
            transaction.data,
            transaction.operation,
            0,
            0,
            0,
            _ZERO_ADDRESS,
            _ZERO_ADDRESS,
            signature,
        ],
    )
