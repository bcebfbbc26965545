"""Two instances of tx-monitor that send, behind a node like Polygon's, for a module of tests.

Blocks are mined by the tests alone, and fees are raised by blocks alone: nothing depends on how
fast the machine is.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.paper_venue.chain.artifacts import load_artifacts
from services.paper_venue.chain.calldata import encode_call
from services.paper_venue.chain.deployment import deploy
from services.paper_venue.chain.sender import Call, local_account, send_and_mine
from services.paper_venue.chain.wallets import PaperWallet
from services.paper_venue.polygon_node.node import PolygonNode
from shared.chain.addresses import CONDITIONAL_TOKENS, PUSD
from shared.db.engine import open_engine
from shared.streams.settings import KafkaSettings
from shared.streams.topics import apply
from shared.testing.waiting import eventually
from tests.integration.chain.market import PaperMarket
from tests.integration.tx_monitor.monitors import (
    WITHIN_S,
    fetch_lease_counts,
    running_monitor,
)
from tests.patience import patient_settings
from tools.stack.background import BackgroundLoop
from tools.stack.npm import package_folder

INSTANCES, OPERATORS, PROXIES = 2, 4, 8
BUMP_AFTER_BLOCKS, RESEND_AFTER_BLOCKS = 20, 3
SETTINGS = {
    "TX_MONITOR_POLL_INTERVAL": "PT0.2S",
    "TX_MONITOR_BUMP_AFTER": "PT0.001S",
    "TX_MONITOR_BUMP_AFTER_BLOCKS": str(BUMP_AFTER_BLOCKS),
    "TX_MONITOR_RESEND_AFTER": "PT1H",
    "TX_MONITOR_RESEND_AFTER_BLOCKS": str(RESEND_AFTER_BLOCKS),
    "TX_MONITOR_NODE_TIMEOUT": "PT3S",
    "TX_MONITOR_MAX_FINALITY_LAG": "PT1H",
}
BASE_FEE = 100 * 10**9


@dataclass(kw_only=True)
class TransferSystem:
    background: BackgroundLoop
    rpc_url: str
    """Anvil itself."""
    fronts: tuple[str, ...]
    """The nodes that the instances know."""
    kafka: KafkaSettings
    database_url: str
    folder: Path
    operators: tuple[PaperWallet, ...]
    proxies: tuple[PaperWallet, ...]
    token_id: int
    running: dict[int, AsyncExitStack] = field(default_factory=dict)
    processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, number: int) -> None:
        """Start the instance, unless it runs."""
        await self.background.run_async(self._start(number))

    async def kill(self, number: int) -> None:
        """Kill the instance, as a crash does."""
        self.processes[number].kill()
        await self.background.run_async(self._stop(number))

    @contextmanager
    def pausing(self, number: int) -> Iterator[None]:
        process = self.processes[number]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    async def stop_all(self) -> None:
        for number in list(self.running):
            await self._stop(number)

    async def _start(self, number: int) -> None:
        if number in self.running and self.processes[number].returncode is None:
            return
        await self._stop(number)
        stack = AsyncExitStack()
        self.processes[number] = await stack.enter_async_context(
            running_monitor(
                number,
                rpc_url=self.fronts[0],
                settings=self.kafka,
                database_url=self.database_url,
                folder=self.folder,
                environment={
                    **SETTINGS,
                    "TX_MONITOR_EXTRA_RPC_URLS": ",".join(self.fronts[1:]),
                    "TX_MONITOR_OPERATOR_KEYS_FILE": str(self.folder / "keys.json"),
                },
            )
        )
        self.running[number] = stack

    async def _stop(self, number: int) -> None:
        if (stack := self.running.pop(number, None)) is not None:
            await stack.aclose()


@asynccontextmanager
async def open_system(
    background: BackgroundLoop,
    *,
    rpc_url: str,
    kafka: KafkaSettings,
    database_url: str,
    folder: Path,
) -> AsyncIterator[TransferSystem]:
    """Its context manager belongs to the background's loop."""
    await apply(kafka)
    market = await open_market(rpc_url)
    operators, proxies = market.traders[:OPERATORS], market.traders[OPERATORS:]
    await approve(market, operators, proxies)
    keys = [{"private_key": operator.key} for operator in operators]
    (folder / "keys.json").write_text(json.dumps(keys))
    async with PolygonNode(rpc_url, ports=(0, 0)) as node:
        node.set_base_fee(BASE_FEE)
        system = TransferSystem(
            background=background,
            rpc_url=rpc_url,
            fronts=tuple(front.url for front in node.fronts),
            kafka=kafka,
            database_url=database_url,
            folder=folder,
            operators=operators,
            proxies=proxies,
            token_id=market.condition.yes_token,
        )
        try:
            for number in range(INSTANCES):
                await system._start(number)
            await wait_until_shared(system)
            yield system
        finally:
            await system.stop_all()
    await market.deployment.rpc.close()


async def wait_until_shared(system: TransferSystem) -> None:
    """Wait until the instances have shared the partitions out: what is under way while they move is
    reported by its newest state alone.
    """
    engine = open_engine(patient_settings(system.database_url))

    async def are_shared() -> bool:
        counts = await fetch_lease_counts(engine)
        return list(counts.values()) == [system.kafka.partitions // INSTANCES] * INSTANCES

    try:
        await eventually(are_shared, within=WITHIN_S)
    finally:
        await engine.dispose()


async def open_market(rpc_url: str) -> PaperMarket:
    artifacts = load_artifacts(package_folder("@gnosis.pm/safe-contracts").parents[1])
    return await PaperMarket.open(await deploy(rpc_url, artifacts), traders=OPERATORS + PROXIES)


async def approve(
    market: PaperMarket, operators: tuple[PaperWallet, ...], proxies: tuple[PaperWallet, ...]
) -> None:
    """Have every proxy let every operator wallet take pUSD and shares."""
    calls: list[tuple[str, str, tuple[Any, ...]]] = [
        (PUSD, "approve(address,uint256)", (2**255,)),
        (CONDITIONAL_TOKENS, "setApprovalForAll(address,bool)", (True,)),
    ]
    await send_and_mine(
        market.deployment.rpc,
        [
            (
                local_account(proxy.key),
                Call(to=to, data=encode_call(signature, operator.address, *arguments)),
            )
            for proxy in proxies
            for operator in operators
            for to, signature, arguments in calls
        ],
    )
