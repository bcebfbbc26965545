"""Every store of what wallets are worth, the fake and PostgreSQL alike, behaves like this."""

from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from services.ingest.adapters import PostgresEquities
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings
from tests.builders import LEADER, NOON, OTHER_PROXY, PROXY, seconds, usdc
from tests.fakes import FakeEquities

MAX_AGE = timedelta(minutes=10)
INSTANT = timedelta(microseconds=1)


class Equities(Protocol):
    async def load(self, wallets: AbstractSet[str], at: datetime) -> Mapping[str, int]: ...

    async def record(self, readings: Sequence[tuple[str, datetime, int]]) -> None: ...


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def equities(request: pytest.FixtureRequest) -> AsyncIterator[Equities]:
    if request.param == "fake":
        yield FakeEquities(max_age=MAX_AGE)
        return
    engine = open_engine(
        DatabaseSettings.model_validate({"url": request.getfixturevalue("migrated_database_url")})
    )
    yield PostgresEquities(engine, max_age=MAX_AGE)
    await engine.dispose()


async def test_the_newest_reading_up_to_the_time_counts(equities: Equities) -> None:
    await equities.record(
        [
            (LEADER, NOON - seconds(60), usdc(900)),
            (LEADER, NOON, usdc(1000)),
            (LEADER, NOON + INSTANT, usdc(1100)),
            (PROXY, NOON, usdc(50)),
        ]
    )

    assert await equities.load({LEADER, PROXY, OTHER_PROXY}, NOON) == {
        LEADER: usdc(1000),
        PROXY: usdc(50),
    }
    assert await equities.load({LEADER}, NOON - INSTANT) == {LEADER: usdc(900)}


@pytest.mark.parametrize(("age", "known"), [(MAX_AGE, {LEADER: usdc(7)}), (MAX_AGE + INSTANT, {})])
async def test_a_reading_counts_for_its_time(
    equities: Equities, age: timedelta, known: dict[str, int]
) -> None:
    await equities.record([(LEADER, NOON - age, usdc(7))])

    assert await equities.load({LEADER}, NOON) == known


async def test_a_wallet_that_is_worth_nothing_is_known(equities: Equities) -> None:
    await equities.record([(LEADER, NOON, 0)])

    assert await equities.load({LEADER}, NOON) == {LEADER: 0}


async def test_recording_nothing_changes_nothing(equities: Equities) -> None:
    await equities.record([])

    assert await equities.load({LEADER}, NOON) == {}


@pytest.mark.integration
async def test_old_readings_are_removed(migrated_database_url: str) -> None:
    engine = open_engine(DatabaseSettings.model_validate({"url": migrated_database_url}))
    stored = PostgresEquities(engine, max_age=MAX_AGE)

    for day in range(4):
        await stored.record([(LEADER, NOON + timedelta(days=day), day)])

    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, "select usdc from ingest.equities order by read_at")
    await engine.dispose()
    assert [row.usdc for row in rows] == [2, 3]
