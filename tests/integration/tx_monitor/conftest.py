"""A chain of these tests' own, with a market, and the topics."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.paper_venue.chain.deployment import Deployment
from shared.chain.addresses import EXCHANGE_V2
from shared.db.engine import open_engine
from shared.streams.settings import KafkaSettings
from shared.streams.topics import apply
from tests.conftest import own_database
from tests.integration.chain.conftest import artifacts, deployment, rpc_url
from tests.integration.chain.market import PaperMarket
from tests.integration.tx_monitor.monitors import TRADERS
from tests.integration.tx_monitor.transfer_story import Story, tell_story
from tests.integration.tx_monitor.transfer_system import TransferSystem, open_system
from tests.patience import patient_settings
from tools.stack.background import BackgroundCluster, BackgroundLoop
from tools.stack.local import LocalStack

__all__ = ["artifacts", "deployment", "rpc_url"]


@pytest.fixture
async def settings(one_broker: BackgroundCluster) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=one_broker.bootstrap_servers, partitions=8)
    await apply(settings)
    return settings


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


@pytest.fixture
async def market(deployment: Deployment) -> PaperMarket:
    return await PaperMarket.open(deployment, traders=TRADERS, exchange=EXCHANGE_V2)


@pytest.fixture(scope="module")
def transfer_system(
    background: BackgroundLoop,
    local_stack: LocalStack,
    kafka: str,
    migrated_template: str,
    rpc_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TransferSystem]:
    """Two instances that send, for all tests of a module."""
    settings = KafkaSettings(bootstrap_servers=kafka, partitions=8, session_timeout_ms=6_000)
    with (
        own_database(local_stack.database_url, migrated_template, background) as database_url,
        background.entered(
            open_system(
                background,
                rpc_url=rpc_url,
                kafka=settings,
                database_url=database_url,
                folder=tmp_path_factory.mktemp("transfers"),
            )
        ) as system,
    ):
        yield system


@pytest.fixture
async def story(transfer_system: TransferSystem) -> AsyncIterator[Story]:
    async with tell_story(transfer_system) as story:
        yield story
