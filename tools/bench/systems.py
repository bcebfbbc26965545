"""The two systems that are compared: the floor, and the pipeline's real services."""

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.clock import utc_now
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from tools.bench import floor, followers
from tools.bench.bench_stack import BenchStack
from tools.bench.figures import compute_latency
from tools.bench.followers import Audience, Leader, Trade
from tools.bench.path import Confirmations, wait_for
from tools.pipeline.parts import service_part
from tools.stack.ports import Ports
from tools.stack.settings import REPOSITORY
from tools.stack.supervisor import Part, Running

SERVICES = ("pricer", "preflight", "executor", "tx-monitor", "ingest")
PARTITIONS = 16
PAUSE_S = 2.0
"""After a load, for the work after an order: trades and commits."""
SETTLE_TIMEOUT_S = 45.0
"""How long the confirmations of a load are waited for."""
SETTLE_POLL_S = 1.0
"""A query of few rows: it must cost no more than the idle services."""

OPEN_ORDERS = "select count(*) from executor.open_orders"
CONFIRMATIONS = """
select (extract(epoch from confirmed_at - answered_at) * 1000)::float as ms
from executor.orders_with_states
where seen_at >= $1 and confirmed_at is not null and answered_at is not null
"""
UNFILLED = """
select coalesce(nullif(reason, ''), state) as reason, count(*) as copies
from preflight.intents
where judged_at >= $1 and filled_shares = 0
group by 1 order by 2 desc
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The files that the services run from: a checkout with a virtual environment of its own."""

    folder: Path = REPOSITORY
    python: Path = Path(sys.executable)

    @property
    def command_line(self) -> Path:
        """The program ``slipstream``."""
        return self.python.with_name("slipstream")

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Raises: ValueError where it has no virtual environment."""
        python = folder.resolve() / ".venv" / "bin" / "python"
        if not python.exists():
            raise ValueError(f"{folder} has no .venv: run `make setup` there")
        return cls(folder=folder.resolve(), python=python)


class Processes:
    """Parts under the stack's supervisor, until the block ends."""

    name: str

    def __init__(self, bench: BenchStack) -> None:
        self.bench = bench
        self.stack, self.venue, self.folder = bench.stack, bench.venue, bench.folder
        self.running: list[Running] = []

    @property
    def processes(self) -> Mapping[str, int]:
        shared = [
            running
            for running in self.stack.supervisor.running
            if running.name in ("kafka", "postgres")
        ]
        return {running.name: running.pid for running in (*self.running, *shared)}

    @property
    def simulators(self) -> Mapping[str, int]:
        return {self.bench.node.name: self.bench.node.pid}

    async def start(self, part: Part) -> None:
        self.running.append(await self.stack.supervisor.start(part))

    async def settle(self) -> None:
        await asyncio.sleep(PAUSE_S)

    async def fetch_confirmations(self, since: datetime) -> Confirmations | None:
        return None

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
    """The same hops, commits and POST, without logic, and with nothing after the POST."""

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

    def trades(self, audience: Audience) -> Iterator[Trade]:
        while True:
            self._number += 1
            frame = floor.build_frame(self._number, audience.followers)
            yield Trade(
                build_frame=partial(_give, frame),
                salts=tuple(floor.order_salts(self._number, audience.followers)),
            )

    def _build_part(self, role: str) -> Part:
        ready_file = self.folder / f"floor-{role}.ready"
        ready_file.unlink(missing_ok=True)
        return Part(
            name=f"floor-{role}",
            command=[sys.executable, "-m", "tools.bench.floor", role],
            cwd=REPOSITORY,
            env={**self.bench.environment(), "FLOOR_READY_FILE": str(ready_file)},
            ready=lambda: _exists(ready_file),
            stop_within=2,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How the pipeline runs: from which files, and with which variables beyond the stack's."""

    checkout: Checkout = field(default_factory=Checkout)
    environment: Mapping[str, str] = field(default_factory=dict)
    services: Sequence[str] = SERVICES
    profiled: str = ""
    """The service whose CPU time is sampled, if any."""


class Pipeline(Processes):
    """The services from the leader's trade to the confirmed order, as deployed."""

    name = "pipeline"

    def __init__(
        self,
        bench: BenchStack,
        audiences: Sequence[Audience],
        variant: Variant | None = None,
        *,
        database_url: str = "",
        first_number: int = 0,
    ) -> None:
        """``database_url``: another one than the stack's. ``first_number``: of the leaders'
        trades; a stack must not see a number twice.
        """
        super().__init__(bench)
        self._audiences, self._variant = audiences, variant or Variant()
        self.database_url = database_url or self.stack.database_url
        self._number = first_number

    @property
    def profile_file(self) -> Path:
        return self.folder / f"profile-{self._variant.profiled}.txt"

    async def __aenter__(self) -> Self:
        await self._prepare()
        engine = open_engine(DatabaseSettings.model_validate({"url": self.database_url}))
        self._leaders = await followers.set_up(engine, self._audiences, self.folder / "keys.json")
        await engine.dispose()
        ports = Ports()
        for name in self._variant.services:
            part = service_part(name, self._environment(), port=ports.reserve_free()).part
            await self.start(self._adapt(part))
        await wait_for(lambda: self.venue.has_listeners, "ingest listens to the activity feed")
        return self

    def leaders(self, audience: Audience) -> Sequence[Leader]:
        return self._leaders[audience]

    def trades(self, audience: Audience) -> Iterator[Trade]:
        for trade in followers.generate_trades(
            self._leaders[audience], first_number=self._number, now=utc_now
        ):
            self._number += 1
            yield trade

    async def settle(self) -> None:
        """Wait until no order is open; where the tables do not tell, for a moment."""
        deadline = time.perf_counter() + SETTLE_TIMEOUT_S
        # the services change what the database answers
        while await self._fetch_value(OPEN_ORDERS) and time.perf_counter() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(SETTLE_POLL_S)
        await super().settle()

    async def fetch_confirmations(self, since: datetime) -> Confirmations | None:
        try:
            waits = [row["ms"] for row in await self._fetch(CONFIRMATIONS, since)]
            unfilled = await self._fetch(UNFILLED, since)
        except asyncpg.PostgresError:  # the tables of another release
            return None
        return Confirmations(
            confirmed=len(waits),
            latency=compute_latency(waits) if waits else None,
            unfilled={row["reason"]: row["copies"] for row in unfilled},
        )

    async def _fetch_value(self, statement: str) -> int:
        """Its only value; 0 where the tables are those of another release."""
        try:
            return int((await self._fetch(statement))[0][0])
        except asyncpg.PostgresError:
            return 0

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(statement, *values, timeout=60))
        finally:
            await connection.close()

    async def _prepare(self) -> None:
        """The topics and tables of the release that runs."""
        for arguments in (("topics", "apply"), ("db", "migrate")):
            await self.stack.supervisor.run(
                Part(
                    name=f"slipstream-{'-'.join(arguments)}",
                    command=[self._variant.checkout.command_line, *arguments],
                    cwd=self._variant.checkout.folder,
                    env=self._environment(),
                )
            )

    def _environment(self) -> dict[str, str]:
        return {
            **self.bench.environment(),
            "DATABASE_URL": self.database_url,
            "KAFKA_PARTITIONS": str(PARTITIONS),
            "EXECUTOR_KEYS_FILE": str(self.folder / "keys.json"),
            **self._variant.environment,
        }

    def _adapt(self, part: Part) -> Part:
        """Run it from the checkout; the profiled one with samples of its call stack."""
        module, checkout = str(part.command[-1]), self._variant.checkout
        words: list[str | Path] = [checkout.python, "-m"]
        if part.name == self._variant.profiled:
            words += ["tools.bench.sampled", module, str(self.profile_file)]
        else:
            words.append(module)
        return replace(part, command=words, cwd=checkout.folder)


def _give(frame: str, _: datetime) -> str:
    return frame


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
