"""Gives a wallet all approvals that clients ask for, and those of the second neg-risk exchange,
without transactions.

An EOA would need a transaction for each of its seventeen approvals. On a node of our own they are
written straight into the contracts' storage, so there is no Approval event for them.
"""

from collections.abc import Iterator, Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from services.paper_venue.chain.deployment import Deployment
from shared.chain.addresses import (
    COLLATERAL_SPENDERS,
    CONDITIONAL_TOKENS,
    POSITION_MANAGER,
    PUSD,
    SECOND_NEG_RISK_EXCHANGE_V2,
    SHARE_OPERATORS,
)
from shared.chain.rpc import Request

# Where the contracts keep mapping(owner => mapping(spender => ...)). An integration test reads them
# back by the contracts' own calls.
_STORAGE_SLOT = {PUSD: 4, CONDITIONAL_TOKENS: 2, POSITION_MANAGER: 3}
_UNLIMITED = "0x" + "ff" * 32
_APPROVED = "0x" + "01".rjust(64, "0")
# Anvil takes requests of up to 2 MB; one of these is about 230 bytes.
_WRITES_PER_BATCH = 4_000


async def grant_all_approvals(deployment: Deployment, wallets: Sequence[str]) -> None:
    """Give every wallet the approvals of all 17 pairs of token and spender that clients ask for,
    and the two of the second neg-risk exchange, which no client asks for.

    Raises: Transient.
    """
    writes = [write for wallet in wallets for write in _build_writes(wallet)]
    for start in range(0, len(writes), _WRITES_PER_BATCH):
        await deployment.rpc.call_batch(writes[start : start + _WRITES_PER_BATCH])


def _build_writes(wallet: str) -> Iterator[Request]:
    yield from _build_mapping_writes(PUSD, wallet, COLLATERAL_SPENDERS, _UNLIMITED)
    yield from _build_mapping_writes(PUSD, wallet, [SECOND_NEG_RISK_EXCHANGE_V2], _UNLIMITED)
    yield from _build_mapping_writes(
        CONDITIONAL_TOKENS, wallet, [SECOND_NEG_RISK_EXCHANGE_V2], _APPROVED
    )
    for token, operators in SHARE_OPERATORS.items():
        yield from _build_mapping_writes(token, wallet, operators, _APPROVED)


def _build_mapping_writes(
    token: str, wallet: str, spenders: Sequence[str], value: str
) -> Iterator[Request]:
    wallet_slot = keccak(encode(["address", "uint256"], [wallet, _STORAGE_SLOT[token]]))
    for spender in spenders:
        slot = keccak(encode(["address", "bytes32"], [spender, wallet_slot]))
        yield "anvil_setStorageAt", [token, "0x" + slot.hex(), value]
