"""The local stack: a real Kafka, PostgreSQL and chain on this machine, under one supervisor."""

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
from tools.stack.kafka.startup_cache import StartupCache
from tools.stack.ports import Ports
from tools.stack.postgres import Postgres
from tools.stack.settings import StackSettings
from tools.stack.supervisor import Supervisor

logger = logging.getLogger(__name__)

PartName = Literal["kafka", "postgres", "chain"]
ALL_PARTS: tuple[PartName, ...] = ("kafka", "postgres", "chain")
VARIABLES: Mapping[PartName, str] = {
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "postgres": "DATABASE_URL",
    "chain": "POLYGON_RPC_URL",
}

REQUIRED_MEGABYTES = 500
LOCK_TIMEOUT_SECONDS = 1.0  # longer than another process holds the lock to read its holder


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolders:
    """New folders that exist as long as the stack runs. The database's may have to be outside the
    stack's folder.
    """

    run: Path
    database: Path


class LocalStack:
    """Starts the parts that the settings do not name, all at the same time and empty, and deletes
    their data when the `async with` block ends.

    Logs stay in `<folder>/logs`. Further parts can be started under `supervisor`; they are stopped
    before these.
    """

    def __init__(
        self,
        settings: StackSettings,
        parts: Collection[PartName] = ALL_PARTS,
        *,
        postgres_settings: Mapping[str, str] | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        """``postgres_settings``: further ones of the server, by their names. ``supervisor``: of the
        same folder, which starts processes in its own way.
        """
        self.settings = settings
        self._postgres_settings = postgres_settings
        self.supervisor = supervisor or Supervisor(settings.folder)
        self.kafka: KafkaCluster | None = None
        self.postgres: Postgres | None = None
        self._parts = parts
        self._addresses: dict[PartName, str] = {}
        self._ports = Ports()
        self._cache = Cache(settings.cache_folder)
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> LocalStack:
        async with AsyncExitStack() as exit_if_failed:
            folders = await self._claim_folder(exit_if_failed)
            await exit_if_failed.enter_async_context(self.supervisor)
            await _run_all(*self._starts(folders, exit_if_failed))
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
        self, folders: DataFolders, exit_stack: AsyncExitStack
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
            start(folders, exit_stack)
            for part, start in starts.items()
            if part in self._parts and part not in self._addresses
        ]

    async def _claim_folder(self, exit_stack: AsyncExitStack) -> DataFolders:
        """Lock the folder for this stack, delete what a killed stack left, and create new folders.

        To be called before the supervisor is entered, so that at the end data are deleted only
        after every process has stopped.
        """
        require_linux()
        folder = self.settings.folder.resolve()
        require_space(folder, megabytes=REQUIRED_MEGABYTES, purpose="the local stack")
        lock = folder_lock(folder)
        if not await lock.acquire(within=LOCK_TIMEOUT_SECONDS):
            raise StackError(
                f"a local stack already runs in {folder}: use it, stop it, or choose another "
                "folder by STACK_FOLDER"
            )
        exit_stack.callback(lock.release)
        for abandoned in (*folder.glob("run-*"), *postgres.find_abandoned_data(folder)):
            shutil.rmtree(abandoned, ignore_errors=True)
        run = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
        # PostgreSQL may run as another user and must be able to reach its data
        os.chmod(run, 0o755)  # noqa: S103
        exit_stack.callback(shutil.rmtree, run, ignore_errors=True)
        database = postgres.create_data_folder(run, stack=folder)
        exit_stack.callback(shutil.rmtree, database, ignore_errors=True)
        return DataFolders(run=run, database=database)

    async def _start_kafka(self, folders: DataFolders, exit_stack: AsyncExitStack) -> None:
        java = Java(
            jars=await jars.install(self._cache),
            heap_mb=self.settings.kafka_heap_mb,
            quick_compile=self.settings.quick_compile,
        )
        startup_cache = StartupCache(self._cache, java)
        self.kafka = KafkaCluster(self.supervisor, startup_cache, self._nodes(folders.run))
        exit_stack.push_async_callback(self.kafka.discard)
        await self.kafka.start()
        self._addresses["kafka"] = self.kafka.bootstrap_servers
        training = asyncio.create_task(
            train_in_background(startup_cache, self.supervisor), name="kafka training"
        )
        exit_stack.push_async_callback(_cancel, training)

    def _nodes(self, run: Path) -> tuple[Node, ...]:
        # A port from the settings is the first broker's.
        first = self._ports.reserve(self.settings.kafka_port, setting="STACK_KAFKA_PORT")
        ports = [first, *(self._ports.reserve_free() for _ in range(1, self.settings.brokers))]
        return tuple(
            Node(
                id=number,
                client_port=port,
                controller_port=self._ports.reserve_free(),
                data=run / f"kafka-{number}",
            )
            for number, port in enumerate(ports, start=1)
        )

    async def _start_postgres(self, folders: DataFolders, exit_stack: AsyncExitStack) -> None:
        port = self._ports.reserve(self.settings.postgres_port, setting="STACK_POSTGRES_PORT")
        self.postgres = Postgres(
            self.supervisor,
            port=port,
            folder=folders.database,
            durable=self.settings.durable,
            further_settings=self._postgres_settings,
        )
        await self.postgres.start()
        self._addresses["postgres"] = self.postgres.url

    async def _start_chain(self, folders: DataFolders, exit_stack: AsyncExitStack) -> None:
        port = self._ports.reserve(self.settings.rpc_port, setting="STACK_RPC_PORT")
        chain = Anvil(
            self.supervisor,
            self._cache,
            folder=folders.run,
            port=port,
            mining=self.settings.mining,
            block_seconds=self.settings.block_seconds,
        )
        await chain.start()
        self._addresses["chain"] = chain.url


def folder_lock(folder: Path) -> FolderLock:
    """Return the lock that a running stack holds on its folder."""
    return FolderLock(folder / "lock")


def require_linux() -> None:
    """Raises StackError on other systems, where a part could outlive its supervisor."""
    if sys.platform != "linux":
        raise StackError(
            "the local stack runs on Linux only: on this system, set KAFKA_BOOTSTRAP_SERVERS, "
            "DATABASE_URL and POLYGON_RPC_URL to servers of yours"
        )


async def train_in_background(startup_cache: StartupCache, supervisor: Supervisor) -> None:
    """Create Kafka's ahead-of-time cache while the stack runs. A failure is only logged: it costs
    later starts two seconds.
    """
    try:
        await startup_cache.train(supervisor)
    except StackError as error:
        logger.warning(
            "Kafka's ahead-of-time cache could not be created; later starts are slower: %s", error
        )


async def _run_all(*starts: Coroutine[object, object, None]) -> None:
    """Run all at the same time. The first failure cancels the others and is raised."""
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
