"""A watch that is closed and listed as open is polled no more, and leaves the list."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.tx_monitor.adapters import PostgresWatches
from services.tx_monitor.decisions.watches import CLOSED_STATES, build_watch
from shared.db.engine import engine_scope, fetch_rows, transaction
from shared.messages.transactions import TransactionState
from tests.builders import NOON, requested
from tests.patience import patient_settings

pytestmark = pytest.mark.integration


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    settings = patient_settings(migrated_database_url)
    async with engine_scope(settings) as engine:
        yield engine


@pytest.mark.parametrize("state", sorted(CLOSED_STATES))
async def test_a_closed_watch_leaves_the_list_of_open_ones(
    engine: AsyncEngine, state: TransactionState
) -> None:
    """As two instances can leave it that save the same watch while it passes from one to the
    other.
    """
    watches = PostgresWatches(engine)
    closed, still_open = [
        await watches.record(build_watch(requested(request_id=each)), now=NOON)
        for each in ("closed", "open")
    ]
    await watches.save(replace(closed, state=state), now=NOON)
    async with transaction(engine) as connection:
        await connection.execute(text("insert into tx_monitor.open_watches values ('closed')"))

    assert await watches.load_open() == [still_open]

    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, "select request_id from tx_monitor.open_watches")
    assert [row.request_id for row in rows] == ["open"]
