"""Addresses of deposit wallets (signature type 3), derived from their owner's key."""

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

# polymarket-client 0.14.0, wallet derivation for Polygon, read 2026-11-22.
_FACTORY = "0x00000000000Fb5C9ADea0298D729A0CB3823Cc07"
_IMPLEMENTATION = bytes.fromhex("58CA52ebe0DadfdF531Cde7062e76746de4Db1eB")
# Creation code of an ERC-1967 proxy with immutable arguments: a head with the arguments' length,
# the implementation, the rest, the arguments.
_HEAD = 0x61003D3D8160233D3973
_REST = bytes.fromhex(
    "60095155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3"
    "ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
)
# Creation code of an ERC-1967 beacon proxy, likewise; the beacon names the implementation.
_BEACON = bytes.fromhex("7A18EDfe055488A3128f01F563e5B479D92ffc3a")
_BEACON_HEAD = 0x6100523D8160233D3973
_BEACON_REST = bytes.fromhex(
    "60195155f3363d3d373d3d363d602036600436635c60da1b60e01b36527fa3f0ad74e5423aebfd80"
    "d3ef4346578335a9a72aeaee59ff6cb3582b35133d50545afa5036515af43d6000803e604d573d60"
    "00fd5b3d6000f3"
)


def deposit_wallet_address(owner: str) -> str:
    """Return the address of the key's deposit wallet in its UUPS form.

    Clients assume this form as long as the factory names no beacon.
    """
    return _address(owner, _HEAD, _IMPLEMENTATION, _REST)


def beacon_deposit_wallet_address(owner: str) -> str:
    """Return the address of the key's deposit wallet in its beacon form.

    Clients have the relayer create new wallets in this form.
    """
    return _address(owner, _BEACON_HEAD, _BEACON, _BEACON_REST)


def _address(owner: str, head_word: int, target: bytes, rest: bytes) -> str:
    arguments = encode(
        ["address", "bytes32"], [_FACTORY, bytes.fromhex(owner.removeprefix("0x")).rjust(32, b"\0")]
    )
    head = (head_word + (len(arguments) << 56)).to_bytes(10, "big")
    creation_hash = keccak(head + target + rest + arguments)
    return to_checksum_address(
        keccak(b"\xff" + bytes.fromhex(_FACTORY[2:]) + keccak(arguments) + creation_hash)[12:]
    )
