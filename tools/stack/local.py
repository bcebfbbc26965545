"""What does one need to run Slipstream on this machine alone? Kafka, PostgreSQL and a chain, real
ones, under one supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from tools.stack import postgres
from tools.stack.anvil import Anvil
from tools.stack.cache import Cache, FolderLock, require_space
from tools.stack.errors import StackError
from tools.stack.kafka import jars
from tools.stack.kafka.cluster import KafkaCluster
from tools.stack.kafka.config import Node
from tools.stack.kafka.java import Java
from tools.stack.kafka.warm import Warmth
from tools.stack.ports import Ports
from tools.stack.postgres import Postgres
from tools.stack.settings import StackSettings
from tools.stack.supervisor import Supervisor

log = logging.getLogger(__name__)

PartName = Literal["kafka", "postgres", "chain"]
ALL_PARTS: tuple[PartName, ...] = ("kafka", "postgres", "chain")
VARIABLES: Mapping[PartName, str] = {
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "postgres": "DATABASE_URL",
    "chain": "POLYGON_RPC_URL",
}

RUN_MEGABYTES = 500
CLAIM_SECONDS = 1.0  # longer than it takes to look who holds the lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """New folders for what lives as long as the stack does; the database's may have to lie
    elsewhere.
    """

    run: Path
    database: Path


class LocalStack:
    """The parts that the settings do not provide, started side by side, fresh and empty; gone when
    the `async with` block ends.

    Logs stay in `<folder>/logs`. `supervisor` takes further parts, which then are stopped before
    these.
    """

    def __init__(self, settings: StackSettings, parts: Collection[PartName] = ALL_PARTS) -> None:
        self.settings = settings
        self.supervisor = Supervisor(settings.folder)
        self.kafka: KafkaCluster | None = None
        self.postgres: Postgres | None = None
        self._parts = parts
        self._addresses: dict[PartName, str] = {}
        self._ports = Ports()
        self._cache = Cache(settings.cache_folder)
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> LocalStack:
        async with AsyncExitStack() as exit_if_failed:
            place = await self._claim_folder(exit_if_failed)
            await exit_if_failed.enter_async_context(self.supervisor)
            await _all(*self._starts(place, exit_if_failed))
            self._exit = exit_if_failed.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exit.__aexit__(kind, error, trace)

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self._addresses["kafka"]

    @property
    def database_url(self) -> str:
        return self._addresses["postgres"]

    @property
    def rpc_url(self) -> str:
        return self._addresses["chain"]

    def environment(self) -> dict[str, str]:
        """Return the variables by which the services find the parts."""
        return {
            variable: self._addresses[part]
            for part, variable in VARIABLES.items()
            if part in self._addresses
        }

    def _starts(
        self, place: Place, exit_stack: AsyncExitStack
    ) -> list[Coroutine[object, object, None]]:
        provided: dict[PartName, str | None] = {
            "kafka": self.settings.kafka_bootstrap_servers,
            "postgres": self.settings.database_url,
            "chain": self.settings.rpc_url,
        }
        self._addresses = {
            part: address for part, address in provided.items() if address is not None
        }
        starts = {
            "kafka": self._start_kafka,
            "postgres": self._start_postgres,
            "chain": self._start_chain,
        }
        return [
            start(place, exit_stack)
            for part, start in starts.items()
            if part in self._parts and part not in self._addresses
        ]

    async def _claim_folder(self, exit_stack: AsyncExitStack) -> Place:
        """Make this stack the only one of its folder, clear away what a killed one left, and return
        where data may lie.

        To be called before the supervisor is entered: data are deleted only when nothing runs on
        them any more.
        """
        require_linux()
        folder = self.settings.folder.resolve()
        require_space(folder, megabytes=RUN_MEGABYTES, purpose="the local stack")
        lock = folder_lock(folder)
        if not await lock.acquire(within=CLAIM_SECONDS):
            raise StackError(
                f"a local stack already runs in {folder}: use it, stop it, or choose another folder by STACK_FOLDER"
            )
        exit_stack.callback(lock.release)
        for left in (*folder.glob("run-*"), *postgres.leftovers(folder)):
            shutil.rmtree(left, ignore_errors=True)
        run = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
        # PostgreSQL may run as somebody else and has to get through to its data
        os.chmod(run, 0o755)  # noqa: S103
        exit_stack.callback(shutil.rmtree, run, ignore_errors=True)
        database = postgres.place_for_data(run, stack=folder)
        exit_stack.callback(shutil.rmtree, database, ignore_errors=True)
        return Place(run=run, database=database)

    async def _start_kafka(self, place: Place, exit_stack: AsyncExitStack) -> None:
        java = Java(
            jars=await jars.install(self._cache),
            heap_mb=self.settings.kafka_heap_mb,
            quick_compile=self.settings.quick_compile,
        )
        warmth = Warmth(self._cache, java)
        self.kafka = KafkaCluster(self.supervisor, warmth, self._nodes(place.run))
        exit_stack.push_async_callback(self.kafka.discard)
        await self.kafka.start()
        self._addresses["kafka"] = self.kafka.bootstrap_servers
        training = asyncio.create_task(train_beside(warmth, self.supervisor), name="kafka training")
        exit_stack.push_async_callback(_cancel, training)

    def _nodes(self, run: Path) -> tuple[Node, ...]:
        # A chosen port is the first broker's.
        first = self._ports.chosen(self.settings.kafka_port, setting="STACK_KAFKA_PORT")
        ports = [first, *(self._ports.free() for _ in range(1, self.settings.brokers))]
        return tuple(
            Node(
                id=number,
                client_port=port,
                controller_port=self._ports.free(),
                data=run / f"kafka-{number}",
            )
            for number, port in enumerate(ports, start=1)
        )

    async def _start_postgres(self, place: Place, exit_stack: AsyncExitStack) -> None:
        port = self._ports.chosen(self.settings.postgres_port, setting="STACK_POSTGRES_PORT")
        self.postgres = Postgres(
            self.supervisor, port=port, folder=place.database, durable=self.settings.durable
        )
        await self.postgres.start()
        self._addresses["postgres"] = self.postgres.url

    async def _start_chain(self, place: Place, exit_stack: AsyncExitStack) -> None:
        port = self._ports.chosen(self.settings.rpc_port, setting="STACK_RPC_PORT")
        chain = Anvil(
            self.supervisor,
            self._cache,
            folder=place.run,
            port=port,
            mining=self.settings.mining,
            block_seconds=self.settings.block_seconds,
        )
        await chain.start()
        self._addresses["chain"] = chain.url


def folder_lock(folder: Path) -> FolderLock:
    """Return the lock that a running stack holds on its folder; the kernel releases it when the
    stack's process dies.
    """
    return FolderLock(folder / "lock")


def require_linux() -> None:
    """Refuse other systems, on which a part could outlive us.

    Raises:
        StackError: this is not Linux.
    """
    if sys.platform != "linux":
        raise StackError(
            "the local stack runs on Linux; elsewhere, set KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL and POLYGON_RPC_URL "
            "(docker-compose.yml starts all three)"
        )


async def train_beside(warmth: Warmth, supervisor: Supervisor) -> None:
    """Make Kafka's ahead-of-time cache while the stack runs; a failure costs later starts two
    seconds, and is told.
    """
    try:
        await warmth.train(supervisor)
    except StackError as error:
        log.warning("Kafka's ahead-of-time cache could not be made: %s", error)


async def _all(*starts: Coroutine[object, object, None]) -> None:
    """Run all side by side; the first failure stops the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for start in starts:
                group.create_task(start)
    except* StackError as errors:
        first = errors.exceptions[0]
    else:
        return
    raise first


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
