"""A service that needs the database says so when it does not answer."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.database_watch import DatabaseWatch
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient

pytestmark = pytest.mark.integration


class Ticks:
    """A clock in seconds that goes on when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url}))
    yield engine
    await engine.dispose()


async def test_it_is_there_from_its_first_answer_until_the_last_one_is_too_old(
    engine: AsyncEngine,
) -> None:
    clock = Ticks()
    watch = DatabaseWatch(engine, max_silence=timedelta(seconds=5), clock=clock)
    assert not watch.is_ready

    await watch.refresh()
    clock.now = 5
    assert watch.is_ready

    clock.now = 5.1
    assert not watch.is_ready


async def test_a_database_that_cannot_be_reached_is_not_there() -> None:
    nowhere = open_engine(
        DatabaseSettings.model_validate({"url": "postgresql://nobody@127.0.0.1:9/none"})
    )
    watch = DatabaseWatch(nowhere)

    with pytest.raises(Transient):
        await watch.refresh()

    assert not watch.is_ready
    await nowhere.dispose()
