"""A chain of these tests' own, with a market, and the topics."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.paper_venue.chain.deployment import Deployment
from shared.chain.addresses import EXCHANGE_V2
from shared.db.engine import open_engine
from shared.streams.settings import KafkaSettings
from shared.streams.topics import apply
from tests.integration.chain.conftest import artifacts, deployment, rpc_url
from tests.integration.chain.market import PaperMarket
from tests.integration.tx_monitor.monitors import TRADERS
from tests.patience import patient_settings
from tools.stack.background import BackgroundCluster

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
