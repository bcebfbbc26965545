"""How does a wallet come to have approved everything that clients want approved, without a
transaction?

Seventeen approvals a wallet would take seventeen transactions of an EOA. On a node of our own they
are written where the contracts keep them: no Approval event tells of them.
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
    SHARE_OPERATORS,
)
from shared.chain.rpc import Request

# Where the contracts keep mapping(owner => mapping(spender => ...)). An integration test reads them
# back by the contracts' own calls.
_SLOT = {PUSD: 4, CONDITIONAL_TOKENS: 2, POSITION_MANAGER: 3}
_WITHOUT_LIMIT = "0x" + "ff" * 32
_APPROVED = "0x" + "01".rjust(64, "0")
# Anvil takes requests of up to 2 MB; one of these is about 230 bytes.
_WRITES_AT_ONCE = 4_000


async def approve_everything(deployment: Deployment, wallets: Sequence[str]) -> None:
    """Let every wallet have approved the 17 pairs of token and spender that clients ask for.
    Raises: Transient.
    """
    writes = [write for wallet in wallets for write in _writes(wallet)]
    for start in range(0, len(writes), _WRITES_AT_ONCE):
        await deployment.rpc.call_batch(writes[start : start + _WRITES_AT_ONCE])


def _writes(wallet: str) -> Iterator[Request]:
    yield from _mapping_writes(PUSD, wallet, COLLATERAL_SPENDERS, _WITHOUT_LIMIT)
    for token, operators in SHARE_OPERATORS.items():
        yield from _mapping_writes(token, wallet, operators, _APPROVED)


def _mapping_writes(
    token: str, wallet: str, spenders: Sequence[str], value: str
) -> Iterator[Request]:
    of_wallet = keccak(encode(["address", "uint256"], [wallet, _SLOT[token]]))
    for spender in spenders:
        place = keccak(encode(["address", "bytes32"], [spender, of_wallet]))
        yield "anvil_setStorageAt", [token, "0x" + place.hex(), value]
