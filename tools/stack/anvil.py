"""The local chain: anvil, from the npm package of this platform, as a stand-alone Polygon (chain
id 137).
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from tools.stack import npm
from tools.stack.cache import Cache, compute_sha256
from tools.stack.errors import StackError
from tools.stack.ports import HOST
from tools.stack.settings import Mining
from tools.stack.supervisor import Part, Supervisor

CHAIN_ID = 137
KEPT_STATES = "64"
"""States of past blocks that anvil keeps: many more than finality needs. With 2,048 it used 1.5 GB
of memory after 2,900 trades, and 22 GB in the end."""
PROGRAMS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("Linux", "x86_64"): (
        "@foundry-rs/anvil-linux-amd64",
        "10c1c727d6c1de973aeb160e59875b9a9a23464d6e74149ee8abb30b3500311b",
    ),
}
"""By system and machine: the package that package-lock.json pins, and its program's SHA-256.
Other platforms' packages are not pinned."""


class Anvil:
    """One local chain, empty except for anvil's funded accounts."""

    def __init__(
        self,
        supervisor: Supervisor,
        cache: Cache,
        *,
        folder: Path,
        port: int,
        mining: Mining,
        block_seconds: float,
    ) -> None:
        self._supervisor = supervisor
        self._cache = cache
        self._folder = folder
        self._port = port
        self._options = build_options(port=port, mining=mining, block_seconds=block_seconds)

    @property
    def url(self) -> str:
        """The address of its JSON-RPC, over HTTP and, with ws://, over websockets."""
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Install the npm packages if they are missing, and start the chain."""
        package, sha256 = find_package(platform.system(), platform.machine())
        await npm.install(self._cache, self._supervisor)
        program = npm.package_folder(package, self._cache.folder) / "bin" / "anvil"
        await asyncio.to_thread(_require_intact, program, sha256)
        # anvil keeps old states in its user's home and leaves them there when it is killed
        home = {"HOME": str(self._folder)}
        command: list[str | Path] = [program, *self._options]
        await self._supervisor.start(
            Part(
                name="anvil",
                command=command,
                env=home,
                ready=self._is_ready,
                ready_within=90,
                port=self._port,
            )
        )

    async def _is_ready(self) -> bool:
        request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.post(self.url, json=request) as response,
            ):
                answer = await response.json()
        except aiohttp.ClientError:
            return False
        return bool(answer["result"] == hex(CHAIN_ID))


def build_options(*, port: int, mining: Mining, block_seconds: float) -> list[str]:
    """Return anvil's flags.

    With two slots in an epoch the finalized block is the head's fourth ancestor, so that tests can
    wait for finality.
    """
    modes: dict[Mining, list[str]] = {
        "interval": ["--block-time", f"{block_seconds:g}"],
        "automine": [],
        "manual": ["--no-mining", "--order", "fifo"],
    }
    fixed = ["--silent", "--host", HOST, "--port", str(port), "--chain-id", str(CHAIN_ID)]
    limits = [
        "--gas-limit",
        "60000000",
        "--code-size-limit",
        "32768",
        "--slots-in-an-epoch",
        "2",
        "--prune-history",
        KEPT_STATES,
    ]
    return [*fixed, *limits, *modes[mining]]


def find_package(system: str, machine: str) -> tuple[str, str]:
    """Return the npm package for a platform and the SHA-256 of the program in it.

    Raises:
        StackError: no package is pinned for this platform.
    """
    if (system, machine) not in PROGRAMS:
        known = ", ".join(" ".join(pair) for pair in PROGRAMS)
        raise StackError(
            f"no pinned anvil for {system} {machine} (only for {known}): "
            "set POLYGON_RPC_URL to a chain of yours"
        )
    return PROGRAMS[system, machine]


def _require_intact(program: Path, sha256: str) -> None:
    if not program.is_file() or compute_sha256(program) != sha256:
        raise StackError(
            f"{program} is missing or damaged: delete {program.parents[4]}, so that it is "
            "installed again"
        )
