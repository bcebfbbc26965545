"""A database with all tables and the partitions of an old and a young week, and an archive."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.history.run import Scope
from shared.db.engine import engine_scope
from tests.integration.history.rows import NOW, create_weeks
from tests.patience import patient_settings


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    async with engine_scope(patient_settings(migrated_database_url)) as it:
        await create_weeks(it)
        yield it


@pytest.fixture
def scope(tmp_path: Path) -> Scope:
    return Scope(now=NOW, weeks=5, folder=tmp_path / "archive")
