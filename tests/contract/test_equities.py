"""Every store of what wallets are worth, the fake and PostgreSQL alike, behaves like this."""

from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from services.ingest.adapters import PostgresEquities
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.domain.terms import EquityRange
from tests.builders import LEADER, NOON, OTHER_PROXY, PROXY, seconds, usdc
from tests.fakes import FakeEquities
from tests.patience import patient_settings

MAX_AGE = timedelta(minutes=10)
INSTANT = timedelta(microseconds=1)


class Equities(Protocol):
    async def load(self, wallets: AbstractSet[str], at: datetime) -> Mapping[str, EquityRange]: ...

    async def record(self, readings: Sequence[tuple[str, datetime, int]]) -> None: ...


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def equities(request: pytest.FixtureRequest) -> AsyncIterator[Equities]:
    if request.param == "fake":
        yield FakeEquities(max_age=MAX_AGE)
        return
    engine = open_engine(patient_settings(request.getfixturevalue("migrated_database_url")))
    yield PostgresEquities(engine, max_age=MAX_AGE)
    await engine.dispose()


async def test_the_lowest_and_the_highest_reading_up_to_the_time_count(equities: Equities) -> None:
    await equities.record(
        [
            (LEADER, NOON - seconds(120), usdc(900)),
            (LEADER, NOON - seconds(60), usdc(1000)),
            (LEADER, NOON, usdc(950)),
            (LEADER, NOON + INSTANT, usdc(1100)),
            (PROXY, NOON, usdc(50)),
            (PROXY, NOON - seconds(1), usdc(50)),
        ]
    )

    assert await equities.load({LEADER, PROXY, OTHER_PROXY}, NOON) == {
        LEADER: EquityRange(lowest_usdc=usdc(900), highest_usdc=usdc(1000)),
        PROXY: EquityRange(lowest_usdc=usdc(50), highest_usdc=usdc(50)),
    }
    assert await equities.load({LEADER}, NOON + INSTANT) == {
        LEADER: EquityRange(lowest_usdc=usdc(900), highest_usdc=usdc(1100))
    }


async def test_a_wallet_that_was_read_once_is_not_known(equities: Equities) -> None:
    await equities.record([(LEADER, NOON, usdc(7))])

    assert await equities.load({LEADER}, NOON) == {}


@pytest.mark.parametrize(("age", "lowest"), [(MAX_AGE, 5), (MAX_AGE + INSTANT, 7)])
async def test_a_reading_counts_for_its_time(
    equities: Equities, age: timedelta, lowest: int
) -> None:
    await equities.record([(LEADER, NOON - age, 5), (LEADER, NOON - seconds(1), 7)])
    await equities.record([(LEADER, NOON, 7)])

    assert await equities.load({LEADER}, NOON) == {
        LEADER: EquityRange(lowest_usdc=lowest, highest_usdc=7)
    }


async def test_a_wallet_that_is_worth_nothing_is_known(equities: Equities) -> None:
    await equities.record([(LEADER, NOON, 0), (LEADER, NOON - seconds(1), 0)])

    assert await equities.load({LEADER}, NOON) == {
        LEADER: EquityRange(lowest_usdc=0, highest_usdc=0)
    }


async def test_recording_nothing_changes_nothing(equities: Equities) -> None:
    await equities.record([])

    assert await equities.load({LEADER}, NOON) == {}


@pytest.mark.integration
async def test_old_readings_are_removed(migrated_database_url: str) -> None:
    engine = open_engine(patient_settings(migrated_database_url))
    stored = PostgresEquities(engine, max_age=MAX_AGE)

    for day in range(4):
        await stored.record([(LEADER, NOON + timedelta(days=day), day)])

    async with transaction(engine) as connection:
        rows = await fetch_rows(connection, "select usdc from ingest.equities order by read_at")
    await engine.dispose()
    assert [row.usdc for row in rows] == [2, 3]
