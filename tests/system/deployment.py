"""A complete system for a module of end-to-end tests: Kafka, PostgreSQL and chain of its own, the
paper venue, all services, and leaders with followers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

import aiohttp

from shared.db.controls import save_follows
from shared.domain.follows import Follow
from shared.domain.ids import follow_id
from shared.domain.money import MICROS
from shared.testing.otlp import OtlpReceiver
from tests.system.forks import ForkingSupervisor
from tools.pipeline.local import LocalPipeline
from tools.pipeline.parts import SERVICES
from tools.pipeline.venue import Account
from tools.stack.background import BackgroundCluster, BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings

INITIAL_USDC = 1000 * MICROS
"""What every follower starts with, in micro-USDC."""
FOLLOWERS_PER_LEADER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowGroup:
    """A leader and his followers, for one test alone. Their wallets are EOAs and Safes."""

    leader: str
    followers: tuple[Account, ...]
    follows: tuple[Follow, ...]


@dataclass(slots=True, kw_only=True)
class Deployment:
    """The running system. It runs on an event loop of its own: a test reaches its services through
    their addresses, and controls its processes through ``background``.
    """

    pipeline: LocalPipeline
    background: BackgroundLoop
    collector: OtlpReceiver
    follow_groups: deque[FollowGroup]
    logs: Path
    all_followers: tuple[Account, ...] = field(repr=False)

    @property
    def kafka(self) -> BackgroundCluster:
        """The brokers, to be stopped and started."""
        cluster = self.pipeline.stack.kafka
        assert cluster is not None
        return BackgroundCluster(self.background, cluster)

    async def start(self, *names: str, instance: int = 0) -> None:
        for name in names:
            await self.background.run_async(self.pipeline.start_service(name, instance=instance))

    async def start_together(self, *names: str, instance: int) -> None:
        """Start them at once, so that they join their groups during one another's start."""
        await asyncio.gather(*(self.start(name, instance=instance) for name in names))

    async def stop(self, name: str) -> None:
        await self.background.run_async(
            self.pipeline.stack.supervisor.stop(self.pipeline.running[name])
        )

    async def stop_postgres(self) -> None:
        server = self.pipeline.stack.postgres
        assert server is not None
        await self.background.run_async(server.stop())

    async def restore_postgres(self) -> None:
        """Start it again on the same data, unless it runs."""
        server = self.pipeline.stack.postgres
        assert server is not None
        await self.background.run_async(server.restore())

    async def fetch_probe_reasons(self, probe: Literal["live", "ready"], name: str) -> list[str]:
        """The reasons why the service is not live or not ready now; empty: it is."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"{self.pipeline.health_urls[name]}/{probe}") as response,
        ):
            reasons: list[str] = (await response.json())["reasons"]
            assert (response.status == 200) == (not reasons)
            return reasons

    async def fetch_metric(self, service: str, sample: str) -> float:
        """The value of a sample without labels, as the service's ``/metrics`` shows it."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"{self.pipeline.health_urls[service]}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        (value,) = [line.split()[1] for line in lines if line.startswith(f"{sample} ")]
        return float(value)

    async def kill(self, name: str) -> None:
        """Kill it with SIGKILL, as a power cut would."""
        await self.background.run_async(
            self.pipeline.stack.supervisor.kill(self.pipeline.running[name])
        )


@asynccontextmanager
async def running_deployment(
    folder: Path,
    background: BackgroundLoop,
    *,
    follow_groups: int,
    services: Sequence[str] = SERVICES,
    environment: Mapping[str, str] | None = None,
    further_leaders: Sequence[str] = (),
    launcher: str | None = None,
    block_seconds: float = 0.5,
    brokers: Literal[1, 3] = 1,
    max_slippage_bps: Decimal = Decimal(500),
    durable: bool = False,
    data_api: bool = False,
) -> AsyncIterator[Deployment]:
    """The complete system, ready, with ``follow_groups`` leaders and their followers. The follows
    are stored before the services start.

    ``further_leaders``: also followed by the followers of the first group. ``launcher``: a module
    that runs each service's own module. ``durable``: the database waits for its disk.
    ``data_api``: whether ingest reads the venue's Data API.
    """
    settings = StackSettings(
        folder=folder / "stack",
        kafka_heap_mb=256,
        quick_compile=True,
        durable=durable,
        block_seconds=block_seconds,
        brokers=brokers,
    )
    supervisor = ForkingSupervisor(settings.folder)
    async with OtlpReceiver() as collector, LocalStack(settings, supervisor=supervisor) as stack:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            # Tests wait for committed offsets, and for the first response of empty topics.
            "KAFKA_COMMIT_INTERVAL_MS": "50",
            "KAFKA_FETCH_MAX_WAIT_MS": "100",
            "PAPER_VENUE_LEADERS": str(follow_groups),
            # A moving price or a busy machine could rightly cause a refusal.
            "PAPER_VENUE_DRIFT_PER_SECOND": "0",
            "PREFLIGHT_MAX_QUOTE_AGE": "PT300S",
            "PREFLIGHT_MAX_ENTRY_AGE": "PT300S",
            **(environment or {}),
        }
        async with LocalPipeline(
            stack,
            folder / "run",
            environment=variables,
            launcher=launcher,
            data_api=data_api,
        ) as pipeline:
            accounts = await pipeline.create_followers(
                follow_groups * FOLLOWERS_PER_LEADER, usdc=str(INITIAL_USDC // MICROS)
            )
            groups = _build_follow_groups(
                (await pipeline.venue.fetch_world())["leaders"], accounts, max_slippage_bps
            )
            await _save_follows(pipeline, groups, further_leaders)
            await pipeline.start_services(services)
            yield Deployment(
                pipeline=pipeline,
                background=background,
                collector=collector,
                follow_groups=deque(groups),
                logs=folder / "stack" / "logs",
                all_followers=tuple(accounts),
            )


def _build_follow_groups(
    leaders: Sequence[str], accounts: Sequence[Account], max_slippage_bps: Decimal
) -> list[FollowGroup]:
    """Each group gets wallets of both kinds. ``accounts``: first the EOAs, then as many Safes."""
    half = len(accounts) - len(accounts) // 2
    mixed = [
        account
        for pair in zip(accounts[:half], [*accounts[half:], None], strict=False)
        for account in pair
        if account is not None
    ]
    groups = []
    for number, leader in enumerate(leaders):
        followers = tuple(
            mixed[number * FOLLOWERS_PER_LEADER : (number + 1) * FOLLOWERS_PER_LEADER]
        )
        follows = tuple(
            replace(a_follow(leader, each.proxy), max_slippage_bps=max_slippage_bps)
            for each in followers
        )
        groups.append(FollowGroup(leader=leader, followers=followers, follows=follows))
    return groups


async def _save_follows(
    pipeline: LocalPipeline, groups: Sequence[FollowGroup], further_leaders: Sequence[str]
) -> None:
    further = [
        a_follow(leader, account.proxy)
        for leader in further_leaders
        for account in groups[0].followers
    ]
    engine = pipeline.engine()
    try:
        await save_follows(
            engine,
            [*(each for group in groups for each in group.follows), *further],
            by="test",
            change="follows of the end-to-end tests",
        )
    finally:
        await engine.dispose()


def a_follow(leader: str, proxy: str) -> Follow:
    return Follow(
        follow_id=follow_id(leader=leader, proxy=proxy),
        version=0,
        leader=leader,
        proxy=proxy,
        percent=Decimal(10),
        fixed_usdc=None,
        min_usdc=1 * MICROS,
        max_usdc=100 * MICROS,
        max_slippage_bps=Decimal(500),
        daily_cap_usdc=500 * MICROS,
    )
