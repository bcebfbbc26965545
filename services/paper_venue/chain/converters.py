"""Which contracts turn pUSD into shares and back, and let signed calls reach proxy wallets? Placed
where clients call them.
"""

from pathlib import Path
from typing import Final

from services.paper_venue.chain.artifacts import OUR_COMPILED_FOLDER, load_code
from services.paper_venue.chain.deployment import Deployment
from shared.chain.addresses import (
    COLLATERAL_ADAPTER,
    NEG_RISK_ADAPTER,
    NEG_RISK_COLLATERAL_ADAPTER,
    PROXY_FACTORY,
    RELAY_HUB,
    ROUTER,
)

CONTRACT_BY_ADDRESS: Final = {
    COLLATERAL_ADAPTER: "CollateralAdapter",
    NEG_RISK_COLLATERAL_ADAPTER: "CollateralAdapter",
    NEG_RISK_ADAPTER: "NegRiskPositions",
    ROUTER: "Router",
    PROXY_FACTORY: "ProxyFactory",
    RELAY_HUB: "RelayHub",
}


async def place_converters(
    deployment: Deployment, compiled_folder: Path = OUR_COMPILED_FOLDER
) -> None:
    """Put them there; none has a state that this would lose but the hub's nonces, which stay.
    Raises: MissingArtifact, Transient.
    """
    codes = [load_code(name, compiled_folder) for name in CONTRACT_BY_ADDRESS.values()]
    await deployment.rpc.call_batch(
        [
            ("anvil_setCode", [address, code])
            for address, code in zip(CONTRACT_BY_ADDRESS, codes, strict=True)
        ]
    )
