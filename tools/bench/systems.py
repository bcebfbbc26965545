"""The two systems that are compared: the floor, and the pipeline's real services."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.db.engine import open_engine
from shared.db.migrate import migrate
from shared.db.settings import DatabaseSettings
from shared.streams import topics
from shared.streams.settings import KafkaSettings
from tools.bench import floor, followers
from tools.bench.followers import Leader, Trade
from tools.bench.path import wait_for
from tools.bench.venue import BenchVenue
from tools.pipeline.parts import service_part
from tools.stack.local import LocalStack
from tools.stack.ports import Ports
from tools.stack.settings import REPOSITORY
from tools.stack.supervisor import Part, Running

SERVICES = ("pricer", "preflight", "executor", "ingest")
PARTITIONS = 16


class Processes:
    """Parts under the stack's supervisor, until the block ends."""

    name: str

    def __init__(self, stack: LocalStack, venue: BenchVenue, folder: Path) -> None:
        self.stack, self.venue, self.folder = stack, venue, folder
        self.running: list[Running] = []

    @property
    def processes(self) -> Mapping[str, int]:
        shared = [
            running
            for running in self.stack.supervisor.running
            if running.name in ("kafka", "postgres")
        ]
        return {running.name: running.pid for running in (*self.running, *shared)}

    async def start(self, part: Part) -> None:
        self.running.append(await self.stack.supervisor.start(part))

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for running in self.running:
            await self.stack.supervisor.stop(running)


class Floor(Processes):
    """The same hops, commits and POST, without logic."""

    name = "floor"
    _number = 0

    async def __aenter__(self) -> Self:
        await create_topics(self.stack.kafka_bootstrap_servers, floor.TOPICS)
        connection = await asyncpg.connect(self.stack.database_url)
        await connection.execute(floor.SCHEMA)
        await connection.close()
        for role in floor.ROLES[::-1]:
            await self.start(self._build_part(role))
        return self

    def trades(self, followers: int) -> Iterator[Trade]:
        while True:
            self._number += 1
            yield Trade(
                frame=floor.build_frame(self._number, followers),
                salts=tuple(floor.order_salts(self._number, followers)),
            )

    def _build_part(self, role: str) -> Part:
        ready_file = self.folder / f"floor-{role}.ready"
        ready_file.unlink(missing_ok=True)
        environment = {
            **self.stack.environment(),
            **self.venue.environment(),
            "FLOOR_READY_FILE": str(ready_file),
        }
        command = [sys.executable, "-m", "tools.bench.floor", role]
        return Part(
            name=f"floor-{role}",
            command=command,
            cwd=REPOSITORY,
            env=environment,
            ready=lambda: _exists(ready_file),
            stop_within=2,
        )


class Pipeline(Processes):
    """Ingest, pricer, preflight and executor as deployed. ``profiled``: the sampled one, if any."""

    name = "pipeline"

    def __init__(
        self,
        stack: LocalStack,
        venue: BenchVenue,
        folder: Path,
        *,
        sizes: tuple[int, ...],
        now: Callable[[], datetime],
        profiled: str = "",
    ) -> None:
        super().__init__(stack, venue, folder)
        self._sizes, self._now, self._profiled = sizes, now, profiled
        self._number = 0

    @property
    def profile_file(self) -> Path:
        return self.folder / f"profile-{self._profiled}.txt"

    async def __aenter__(self) -> Self:
        await topics.apply(
            KafkaSettings(
                bootstrap_servers=self.stack.kafka_bootstrap_servers, partitions=PARTITIONS
            )
        )
        engine = open_engine(DatabaseSettings.model_validate({"url": self.stack.database_url}))
        await migrate(engine)
        self._leaders = await followers.set_up(engine, self._sizes, self.folder / "keys.json")
        await engine.dispose()
        ports = Ports()
        for name in SERVICES:
            part = service_part(name, self._environment(), port=ports.reserve_free()).part
            await self.start(self._build_sampled_part(part) if name == self._profiled else part)
        await wait_for(lambda: self.venue.has_listeners, "ingest listens to the activity feed")
        return self

    def leaders(self, followers_each: int) -> Sequence[Leader]:
        """Those whom so many followers copy."""
        return self._leaders[followers_each]

    def trades(self, followers_each: int, *, interval_s: float = 0) -> Iterator[Trade]:
        """Trades of those whom so many followers copy, dated so many seconds apart."""
        for trade in followers.generate_trades(
            self._leaders[followers_each],
            first_number=self._number,
            now=self._now(),
            interval_s=interval_s,
        ):
            self._number += 1
            yield trade

    def _environment(self) -> dict[str, str]:
        return {
            **self.stack.environment(),
            **self.venue.environment(),
            "EXECUTOR_KEYS_FILE": str(self.folder / "keys.json"),
        }

    def _build_sampled_part(self, part: Part) -> Part:
        module = str(part.command[-1])
        command = [sys.executable, "-m", "tools.bench.sampled", module, str(self.profile_file)]
        return Part(
            name=part.name,
            command=command,
            cwd=part.cwd,
            env=part.env,
            ready=part.ready,
            ready_within=part.ready_within,
            stop_within=15,
        )


async def create_topics(
    bootstrap_servers: str, names: tuple[str, ...], *, partitions: int = PARTITIONS
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def _exists(file: Path) -> bool:
    return file.exists()  # noqa: ASYNC240 - a local file
