"""The executor's books in a database of each test's own."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from tests.leases import executor_leases


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(DatabaseSettings.model_validate({"url": migrated_database_url}))
    yield engine
    await engine.dispose()


@pytest.fixture
async def orders(engine: AsyncEngine) -> PostgresOrders:
    return PostgresOrders(engine, await executor_leases(engine))
