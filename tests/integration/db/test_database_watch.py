"""A service that needs the database is not ready while it does not answer."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.database_watch import DatabaseWatch
from shared.db.engine import open_engine
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient

pytestmark = pytest.mark.integration


class FakeClock:
    """A clock in seconds that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(DatabaseSettings.model_validate({"url": database_url}))
    yield engine
    await engine.dispose()


async def test_the_database_counts_as_reachable_until_its_last_answer_is_too_old(
    engine: AsyncEngine,
) -> None:
    clock = FakeClock()
    watch = DatabaseWatch(engine, max_silence=timedelta(seconds=5), clock=clock)
    assert not watch.is_ready

    await watch.refresh()
    clock.now = 5
    assert watch.is_ready

    clock.now = 5.1
    assert not watch.is_ready


async def test_a_database_that_never_answered_does_not_count_as_reachable() -> None:
    unreachable = open_engine(
        DatabaseSettings.model_validate({"url": "postgresql://nobody@127.0.0.1:9/none"})
    )
    watch = DatabaseWatch(unreachable)

    with pytest.raises(Transient):
        await watch.refresh()

    assert not watch.is_ready
    await unreachable.dispose()
