"""A database with all tables, of which preflight's intents are partitioned, and an archive."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history.rules import partitioned_tables
from cli.history.run import Scope
from shared.db.engine import engine_scope
from shared.db.settings import DatabaseSettings
from tests.integration.history.rows import INTENTS, NOW, partition_intents


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(DatabaseSettings.model_validate({"url": migrated_database_url})) as it:
        await partition_intents(it)
        yield it


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return Scope(
        now=NOW, weeks=5, folder=tmp_path / "archive", tables=(*partitioned_tables(), INTENTS)
    )
