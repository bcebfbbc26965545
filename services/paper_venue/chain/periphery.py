"""Places the periphery contracts where clients call them: those that turn pUSD into shares and
back, and those through which proxy wallets act.
"""

from pathlib import Path
from typing import Final

from services.paper_venue.chain.artifacts import COMPILED_FOLDER, load_code
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


async def place_periphery_contracts(
    deployment: Deployment, compiled_folder: Path = COMPILED_FOLDER
) -> None:
    """Write the contracts' code. Their storage is kept (only the relay hub has any: its nonces).

    Raises: MissingArtifact, Transient.
    """
    codes = [load_code(name, compiled_folder) for name in CONTRACT_BY_ADDRESS.values()]
    await deployment.rpc.call_batch(
        [
            ("anvil_setCode", [address, code])
            for address, code in zip(CONTRACT_BY_ADDRESS, codes, strict=True)
        ]
    )
