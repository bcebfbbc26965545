"""A field of a stored JSON is read whatever a text beside it contains."""

import json
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.sql import stored_json
from tests.patience import patient_settings

pytestmark = pytest.mark.integration


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(database_url))
    yield engine
    await engine.dispose()


@pytest.mark.parametrize(
    "title",
    ["Will it rain?", "\x00", "\\u0000", "\\\x00", "\\\\u0000 \\\x00\x00", '"\\', "\\\\\x00"],
)
async def test_a_field_beside_any_title_is_read(engine: AsyncEngine, title: str) -> None:
    stored = json.dumps({"title": title, "filled_at": "2026-11-28"})
    async with transaction(engine) as connection:
        (row,) = await fetch_rows(
            connection,
            f"select {stored_json('given.stored')} ->> 'filled_at' as field "
            "from (select cast(:stored as text) as stored) as given",
            stored=stored,
        )
    assert row.field == "2026-11-28"
