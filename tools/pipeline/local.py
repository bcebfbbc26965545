"""The whole system on this machine: the stack, the paper venue and the services."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import open_engine
from shared.db.migrate import migrate
from shared.db.settings import DatabaseSettings
from shared.streams import topics
from shared.streams.settings import KafkaSettings
from tools.pipeline.parts import SERVICES, ServicePart, service_part, venue_part
from tools.pipeline.venue import Account, VenueControl
from tools.stack.errors import StackError
from tools.stack.local import LocalStack
from tools.stack.npm import package_folder
from tools.stack.ports import Ports
from tools.stack.supervisor import Running

NO_RATE_LIMIT = "1000"
"""The venue on this machine has no limit per address."""
PARTITIONS = 16
"""Partitions of each topic: enough for the instances that fit on one machine. A fetch costs ten
times less CPU in aiokafka than with 64."""

COORDINATOR_WITHIN_S = 600
"""Far longer than Kafka takes, on a machine with 30 times more work than cores too."""


class LocalPipeline:
    """Starts the venue on entering, and followers and services on request, until the block ends."""

    def __init__(
        self,
        stack: LocalStack,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        launcher: str | None = None,
        data_api: bool = False,
    ) -> None:
        """``folder``: for the keys and addresses of this run. ``environment``: added to every
        process's environment. ``launcher``: a module that runs the services' modules.
        ``data_api``: whether the services read the venue's Data API.
        """
        self.stack, self.folder = stack, folder
        self._launcher, self._data_api = launcher, data_api
        self.running: dict[str, Running] = {}
        self.health_urls: dict[str, str] = {}
        self._extra = dict(environment or {})
        self._ports = Ports()
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        _, self.venue = await asyncio.gather(self._prepare(), self._start_venue())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for running in reversed(list(self.running.values())):
            await self.stack.supervisor.stop(running)
        await self._exit.aclose()

    def environment(self) -> dict[str, str]:
        """The variables by which every service finds the others and the venue."""
        urls = self.urls
        return {
            **self.stack.environment(),
            "CLOB_URL": urls["clob"],
            "GAMMA_URL": urls["gamma"],
            "CLOB_MARKET_WS_URL": urls["market_ws"],
            "RTDS_WS_URL": urls["rtds"],
            "VENUE_RATE_SHARE": NO_RATE_LIMIT,
            "EXECUTOR_KEYS_FILE": str(self.keys_file),
            # A local chain may name no final block for a minute: the venue is asked before.
            "EXECUTOR_FILLS_WITHIN": "PT2S",
            # On a busy machine a service must start, too.
            "DATABASE_CONNECT_TIMEOUT": "PT30S",
            **({"DATA_URL": urls["data"]} if self._data_api else {}),
            **self._extra,
        }

    @property
    def keys_file(self) -> Path:
        return self.folder / "keys.json"

    async def create_followers(self, count: int, *, usdc: str) -> list[Account]:
        """Create funded wallets, half EOAs and half Safes, and write their keys for executor."""
        eoas, safes = await asyncio.gather(
            self.venue.create_accounts("eoa", count - count // 2, usdc=usdc),
            self.venue.create_accounts("safe", count // 2, usdc=usdc)
            if count > 1
            else _no_accounts(),
        )
        accounts = [*eoas, *safes]
        self.keys_file.touch(mode=0o600)
        self.keys_file.write_text(
            json.dumps(
                [
                    {"proxy": account.proxy, "private_key": account.private_key}
                    for account in accounts
                ]
            )
        )
        return accounts

    async def start_services(self, names: Sequence[str] = SERVICES) -> None:
        """Start them all, and return once each is ready. Raises: PartDied."""
        await asyncio.gather(*(self.start_service(name) for name in names))

    async def start_service(self, name: str, *, instance: int = 0) -> ServicePart:
        service = service_part(
            name,
            self._service_environment(name),
            port=self._ports.reserve_free(),
            instance=instance,
            launcher=self._launcher,
        )
        self.running[service.part.name] = await self.stack.supervisor.start(service.part)
        self.health_urls[service.part.name] = service.health_url
        return service

    def _service_environment(self, name: str) -> dict[str, str]:
        """Preflight alone is told the Data API: it mirrors leaders by it, and ingest has two feeds
        without it.
        """
        data = {"DATA_URL": self.urls["data"]} if name == "preflight" else {}
        return {**data, **self.environment()}

    def engine(self) -> AsyncEngine:
        """Of whoever watches the pipeline: it waits longer than a service does."""
        limits = dict.fromkeys(("connect", "pool", "lock", "statement"), 60) | {"answer": 90}
        settings = {f"{step}_timeout": timedelta(seconds=each) for step, each in limits.items()}
        return open_engine(
            DatabaseSettings.model_validate({"url": self.stack.database_url} | settings)
        )

    def kafka_settings(self) -> KafkaSettings:
        """The brokers' addresses, and topics of which each broker has a copy."""
        return KafkaSettings(
            bootstrap_servers=self.stack.kafka_bootstrap_servers,
            partitions=PARTITIONS,
            replication_factor=self.stack.settings.brokers,
        )

    async def _prepare(self) -> None:
        """Create the topics, the tables, and the brokers' own topic of offsets."""
        engine = self.engine()
        try:
            await asyncio.gather(
                topics.apply(self.kafka_settings()),
                migrate(engine),
                wait_for_group_coordinator(self.kafka_settings()),
            )
        finally:
            await engine.dispose()

    async def _start_venue(self) -> VenueControl:
        ready_file = self.folder / "venue.json"
        npm_folder = package_folder("@gnosis.pm/conditional-tokens-contracts").parents[1]
        part = venue_part(
            ready_file, rpc_url=self.stack.rpc_url, npm_folder=npm_folder, environment=self._extra
        )
        self.running[part.name] = await self.stack.supervisor.start(part)
        self.urls: Mapping[str, str] = orjson.loads(ready_file.read_bytes())["urls"]
        return await self._exit.enter_async_context(VenueControl(self.urls["control"]))


async def _no_accounts() -> list[Account]:
    return []


async def wait_for_group_coordinator(settings: KafkaSettings) -> None:
    """Return once the broker has created its topic of consumer groups. It does so at the first
    request, and refuses groups until then.

    Raises: StackError after COORDINATOR_WITHIN_S.
    """
    admin = AIOKafkaAdminClient(**settings.client())
    await admin.start()
    try:
        async with asyncio.timeout(COORDINATOR_WITHIN_S):
            # the broker does not announce that it is done
            while not await _has_coordinator(admin):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise StackError(
            f"Kafka did not create its topic of consumer offsets within {COORDINATOR_WITHIN_S} s: "
            "see kafka's log"
        ) from None
    finally:
        await admin.close()


async def _has_coordinator(admin: AIOKafkaAdminClient) -> bool:
    try:
        await admin.list_consumer_group_offsets("any-group")
    except KafkaError as error:
        if not error.retriable:
            raise
        return False
    return True
