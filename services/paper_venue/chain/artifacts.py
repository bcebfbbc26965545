"""Loads the bytecode of the local chain's contracts.

Our own contracts are written in contracts/; their compiled form is committed beside this module and
part of the package. ConditionalTokens and Safe are LGPL: read from npm packages, never committed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPILED_FOLDER = Path(__file__).with_name("compiled")
_CONDITIONAL_TOKENS = (
    "@gnosis.pm/conditional-tokens-contracts/build/contracts/ConditionalTokens.json"
)
_SAFE = "@gnosis.pm/safe-contracts/build/artifacts/contracts/"


class MissingArtifact(Exception):
    """A contract's bytecode is not where it should be; the text says what to install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """Runtime bytecode (0x hex) of every contract."""

    exchange: str
    paper_usd: str
    position_manager: str
    deposit_wallet: str
    proxy_wallet: str
    conditional_tokens: str
    safe_singleton: str
    safe_proxy: str
    safe_fallback_handler: str
    safe_multisend: str


def load_artifacts(npm_folder: Path, compiled_folder: Path = COMPILED_FOLDER) -> Artifacts:
    """Load all bytecode. ``npm_folder``: a node_modules folder with the packages, or its parent.

    Raises: MissingArtifact.
    """
    modules = npm_folder / "node_modules" if (npm_folder / "node_modules").is_dir() else npm_folder
    return Artifacts(
        exchange=_load_own(compiled_folder, "Exchange"),
        paper_usd=_load_own(compiled_folder, "PaperUsd"),
        position_manager=_load_own(compiled_folder, "PositionManager"),
        deposit_wallet=_load_own(compiled_folder, "DepositWallet"),
        proxy_wallet=_load_own(compiled_folder, "ProxyWallet"),
        conditional_tokens=_load_from_npm(modules / _CONDITIONAL_TOKENS),
        safe_singleton=_load_from_npm(modules / _SAFE / "GnosisSafe.sol/GnosisSafe.json"),
        safe_proxy=_load_from_npm(
            modules / _SAFE / "proxies/GnosisSafeProxy.sol/GnosisSafeProxy.json"
        ),
        safe_fallback_handler=_load_from_npm(
            modules
            / _SAFE
            / "handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler.json"
        ),
        safe_multisend=_load_from_npm(modules / _SAFE / "libraries/MultiSend.sol/MultiSend.json"),
    )


def load_code(name: str, compiled_folder: Path = COMPILED_FOLDER) -> str:
    """Load the runtime bytecode (0x hex) of one contract of ours. Raises: MissingArtifact."""
    return _load_own(compiled_folder, name)


def _load_own(folder: Path, name: str) -> str:
    return str(
        _read(folder / f"{name}.json", "run `npm ci && npm run compile` in contracts/")[
            "runtime_bytecode"
        ]
    )


def _load_from_npm(path: Path) -> str:
    return str(
        _read(path, "install the stack's npm packages (tools/stack/npm) and name their folder")[
            "deployedBytecode"
        ]
    )


def _read(path: Path, remedy: str) -> Mapping[str, Any]:
    try:
        content: Mapping[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing: {remedy}") from None
    return content
