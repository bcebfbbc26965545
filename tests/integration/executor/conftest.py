"""A database for each test with the executor's records, and a paper venue on a chain of its own."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from shared.db.engine import open_engine
from tests.integration.paper_venue.conftest import rpc_url, venue
from tests.leases import executor_leases
from tests.patience import patient_settings

__all__ = ["engine", "orders", "rpc_url", "venue"]


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


@pytest.fixture
async def orders(engine: AsyncEngine) -> PostgresOrders:
    return PostgresOrders(engine, await executor_leases(engine))
