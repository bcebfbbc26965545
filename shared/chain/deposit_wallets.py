"""Where does a key's deposit wallet stand?"""

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

# polymarket-client 0.14.0, wallet derivation for Polygon, read 2026-11-22.
_FACTORY = "0x00000000000Fb5C9ADea0298D729A0CB3823Cc07"
_IMPLEMENTATION = bytes.fromhex("58CA52ebe0DadfdF531Cde7062e76746de4Db1eB")
# Creation code of an ERC-1967 proxy with immutable arguments: a head with the arguments' length, the implementation, the rest, them.
_HEAD = 0x61003D3D8160233D3973
_REST = bytes.fromhex(
    "60095155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
)


def deposit_wallet_address(owner: str) -> str:
    """Return the address of the key's deposit wallet in its UUPS form, which clients assume while the factory names no beacon."""
    arguments = encode(["address", "bytes32"], [_FACTORY, bytes.fromhex(owner.removeprefix("0x")).rjust(32, b"\0")])
    head = (_HEAD + (len(arguments) << 56)).to_bytes(10, "big")
    creation_hash = keccak(head + _IMPLEMENTATION + _REST + arguments)
    return to_checksum_address(keccak(b"\xff" + bytes.fromhex(_FACTORY[2:]) + keccak(arguments) + creation_hash)[12:])
