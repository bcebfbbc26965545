"""Addresses of proxy wallets (signature type 1), derived from their owner's key."""

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from shared.chain.addresses import PROXY_FACTORY

# Creation code of the factory's clones, with the implementation inside (polymarket-client 0.14.0,
# read 2026-11-22).
_INIT_CODE_HASH = bytes.fromhex("d21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b")


def proxy_wallet_address(owner: str) -> str:
    """Return the address of the key's proxy wallet (CREATE2 by Polymarket's factory)."""
    salt = keccak(bytes.fromhex(owner.removeprefix("0x")))
    return to_checksum_address(
        keccak(b"\xff" + bytes.fromhex(PROXY_FACTORY[2:]) + salt + _INIT_CODE_HASH)[12:]
    )
