"""A service and the database that it loses: to a network that swallows packets, to a failover, and
to an operator who changes a table. The process goes on, and what was published is recorded.
"""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import autocommit, engine_scope, fetch_rows
from shared.db.migrate import migrate
from shared.db.settings import DatabaseSettings
from shared.streams import topics
from shared.streams.producer import Producer
from shared.streams.settings import KafkaSettings
from shared.testing.waiting import eventually
from tests.builders import a_debt
from tests.integration.db.faulty import server_port, with_ports
from tests.system.faulty_relay import BLACK_HOLE, HOST, NO_FAULTS, FaultyRelay
from tools.pipeline.local import wait_for_group_coordinator
from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.ports import Ports
from tools.stack.settings import StackSettings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WITHIN_S = 180
OUTSTANDING = "slipstream_debts_outstanding_micros"


@pytest.fixture(scope="module")
def stack(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalStack]:
    """Kafka with all topics, and PostgreSQL with all tables."""
    folder = tmp_path_factory.mktemp("lost-databases")
    settings = StackSettings(folder=folder, kafka_heap_mb=256, quick_compile=True, durable=False)
    with background.entered(LocalStack(settings, parts=["kafka", "postgres"])) as stack:
        background.call(prepare(stack))
        yield stack


async def prepare(stack: LocalStack) -> None:
    kafka = kafka_settings(stack)
    async with engine_scope(DatabaseSettings.model_validate({"url": stack.database_url})) as engine:
        await asyncio.gather(
            topics.apply(kafka), migrate(engine), wait_for_group_coordinator(kafka)
        )


def kafka_settings(stack: LocalStack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.kafka_bootstrap_servers, partitions=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """debt-recovery, which reaches the database through the relay."""

    process: Process
    relay: FaultyRelay
    url: str
    producer: Producer
    operator: AsyncEngine

    async def fetch_reasons(self) -> list[str]:
        """Why it is not ready; empty: it is."""
        assert self.process.returncode is None, "the process has ended"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.get(f"{self.url}/ready") as response,
            ):
                return list((await response.json())["reasons"])
        except (aiohttp.ClientError, TimeoutError) as error:
            return [type(error).__name__]

    async def fetch_metric(self, sample: str) -> float:
        """The sum of the samples of that name; 0 where there is none."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        return sum(float(each.split()[1]) for each in lines if each.startswith(sample))

    async def wait_until_ready(self) -> None:
        async def is_ready() -> bool:
            return not await self.fetch_reasons()

        await eventually(is_ready, within=WITHIN_S, what="ready")

    async def wait_until_the_database_is_missed(self) -> None:
        async def is_missed() -> bool:
            return "the database is not ready yet" in await self.fetch_reasons()

        await eventually(is_missed, within=WITHIN_S, what="not ready")

    async def raise_debt(self, debt_id: str) -> None:
        await self.producer.publish(a_debt(debt_id=debt_id))

    async def wait_until_recorded(self, debt_id: str) -> None:
        async def is_recorded() -> bool:
            assert self.process.returncode is None, "the process has ended"
            async with autocommit(self.operator) as connection:
                query = "select 1 from debt_recovery.debts where debt_id = :debt_id"
                return len(await fetch_rows(connection, query, debt_id=debt_id)) == 1

        await eventually(is_recorded, within=WITHIN_S, what=f"{debt_id} recorded")

    async def wait_until_summed_up(self) -> None:
        """Wait until the service has read all debts that are recorded now."""
        async with autocommit(self.operator) as connection:
            query = "select sum(usdc)::bigint as usdc from debt_recovery.debts"
            recorded: int = (await fetch_rows(connection, query))[0].usdc

        async def is_summed_up() -> bool:
            return await self.fetch_metric(OUTSTANDING) == recorded

        await eventually(is_summed_up, within=WITHIN_S, what="all debts in the sum")

    async def execute(self, *statements: str) -> None:
        async with autocommit(self.operator) as connection:
            for statement in statements:
                await fetch_rows(connection, statement)


@pytest.fixture
async def service(stack: LocalStack) -> AsyncIterator[RunningService]:
    port = Ports().reserve_free()
    url = stack.database_url
    async with (
        FaultyRelay(target_port=server_port(url)) as relay,
        Producer(kafka_settings(stack)) as producer,
        engine_scope(DatabaseSettings.model_validate({"url": url})) as operator,
    ):
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
            "KAFKA_SESSION_TIMEOUT_MS": "6000",
            "KAFKA_GROUP_INSTANCE_ID": "debt-recovery",
            "DATABASE_URL": with_ports(url, relay.port),
            # It reads all debts, with every column, that often.
            "DEBT_RECOVERY_SUM_INTERVAL": "PT0.1S",
            "HEALTH_PORT": str(port),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.debt_recovery", env=os.environ | environment
        )
        service = RunningService(
            process=process,
            relay=relay,
            url=f"http://{HOST}:{port}",
            producer=producer,
            operator=operator,
        )
        try:
            await service.wait_until_ready()
            yield service
            process.terminate()
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_after_a_black_hole_what_was_published_in_it_is_recorded(
    service: RunningService,
) -> None:
    await service.raise_debt("before")
    await service.wait_until_recorded("before")
    service.relay.faults = BLACK_HOLE
    await service.raise_debt("during")
    await service.wait_until_the_database_is_missed()

    service.relay.faults = NO_FAULTS

    await service.wait_until_recorded("during")
    await service.wait_until_ready()


async def test_after_a_failover_the_process_finds_the_primary(
    service: RunningService, stack: LocalStack
) -> None:
    """Its connections lead to what is a standby now: each of them accepts reads alone."""
    database = stack.database_url.rpartition("/")[2]
    await service.execute(f"alter database {database} set default_transaction_read_only = on")
    service.relay.reset()
    await service.raise_debt("in a failover")
    await eventually(
        lambda: service.fetch_metric("slipstream_message_retries_total"),
        within=WITHIN_S,
        what="a write that was refused",
    )

    await service.execute(f"alter database {database} reset default_transaction_read_only")

    await service.wait_until_recorded("in a failover")
    await service.wait_until_ready()


async def test_a_column_that_is_added_to_a_live_table_ends_no_process(
    service: RunningService,
) -> None:
    await service.raise_debt("old table")
    await service.wait_until_recorded("old table")
    await service.wait_until_summed_up()

    await service.execute("alter table debt_recovery.debts add column note text")

    await service.raise_debt("new table")
    await service.wait_until_recorded("new table")
    await service.wait_until_summed_up()
    await service.wait_until_ready()
