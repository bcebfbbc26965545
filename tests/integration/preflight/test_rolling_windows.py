"""No interval of 24 hours has more than the cap, however two processes reserve and release."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters.verdicts import PostgresVerdicts
from shared.db.engine import fetch_rows, open_engine, transaction
from shared.db.settings import DatabaseSettings
from shared.domain.errors import Transient
from shared.messages.intents import IntentApproved
from tests.builders import NOON, an_intent, an_outcome, approved, facts, usdc

pytestmark = pytest.mark.integration

CAP = usdc(40)
DAY = timedelta(hours=24)
numbers = count(1)
"""Each example has a follower of its own, so that all may share a database."""


def minutes(most: int) -> st.SearchStrategy[timedelta]:
    return st.integers(0, most).map(lambda number: timedelta(minutes=number))


ENTRIES = st.tuples(
    minutes(6 * 60),
    st.one_of(st.just(timedelta(0)), minutes(60), minutes(20 * 60)),
    st.integers(1, 30).map(usdc),
    st.one_of(st.none(), st.integers(0, 100)),
)
"""How long after the one before an entry is recorded, how much earlier it was judged, what it
spends, and how many percent of that its order fills; None: it is not settled."""


class Follower:
    """Records entries, and knows what each of them has reserved or spent."""

    def __init__(self, stores: Sequence[PostgresVerdicts]) -> None:
        self.stores, self.number = stores, next(numbers)
        self.used: list[tuple[datetime, int]] = []

    async def enter(self, store: PostgresVerdicts, n: int, moment: datetime, amount: int) -> bool:
        intent = an_intent(
            intent_id=f"{self.number:016x}{n:016x}",
            proxy=f"0x{self.number:040x}",
            follow_id=f"follow-of-{self.number}",
        )
        capped = facts(daily_cap_usdc=CAP, follower_daily_cap_usdc=CAP)
        verdict = approved(intent, usdc=amount, occurred_at=moment, facts=capped)
        try:
            return isinstance(await store.record(verdict), IntentApproved)
        except Transient:
            return False

    async def settle(self, store: PostgresVerdicts, n: int, filled: int) -> None:
        report = an_outcome(
            intent_id=f"{self.number:016x}{n:016x}", usdc=filled, fee_usdc=0, shares=filled
        )
        await store.settle(report, now=NOON + timedelta(days=4))

    def require_cap(self) -> None:
        """The worst interval ends with an entry."""
        for end, _ in self.used:
            spent = sum(amount for moment, amount in self.used if end - DAY < moment <= end)
            assert spent <= CAP


@pytest.fixture
def url(migrated_database_url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": migrated_database_url})


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRIES, max_size=12), together=st.booleans())
def test_no_24_hours_have_more_than_the_cap(
    url: DatabaseSettings,
    entries: Sequence[tuple[timedelta, timedelta, int, int | None]],
    together: bool,
) -> None:
    async def run() -> None:
        engines = [open_engine(url) for _ in range(2)]
        follower = Follower([PostgresVerdicts(engine) for engine in engines])

        async def copy(n: int) -> None:
            _, earlier, amount, percent = entries[n]
            moment = NOON + sum((each[0] for each in entries[: n + 1]), -earlier)
            store = follower.stores[n % 2]
            if not await follower.enter(store, n, moment, amount):
                return
            spent = amount
            if percent is not None:
                spent = amount * percent // 100
                await follower.settle(follower.stores[(n + 1) % 2], n, spent)
            follower.used.append((moment, spent))

        if together:
            await asyncio.gather(*map(copy, range(len(entries))))
        else:
            for n in range(len(entries)):
                await copy(n)
                follower.require_cap()
        follower.require_cap()
        await require_counted(engines[0], follower)
        for engine in engines:
            await engine.dispose()

    asyncio.run(run())


async def require_counted(engine: AsyncEngine, follower: Follower) -> None:
    """What is stored is what was used, as far as its hours are kept."""
    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select spent.key as hour, spent.value::bigint as usdc "
            "from preflight.spending_windows, jsonb_each_text(usdc_by_hour) as spent "
            "where scope = :scope",
            scope=f"follow:follow-of-{follower.number}",
        )
    used: dict[str, int] = {}
    for moment, amount in follower.used:
        hour = moment.strftime("%Y-%m-%dT%H")
        used[hour] = used.get(hour, 0) + amount
    assert len(rows) <= 62
    assert {row.hour: row.usdc for row in rows if row.usdc} == {
        row.hour: used[row.hour] for row in rows if used.get(row.hour)
    }


async def test_a_scope_keeps_the_hours_of_two_days_alone(url: DatabaseSettings) -> None:
    engine = open_engine(url)
    verdicts = PostgresVerdicts(engine)
    for number in range(60):
        intent = an_intent(intent_id=f"{number:032x}", token_id=f"token-{number}")
        moment = NOON + timedelta(hours=2 * number)
        await verdicts.record(approved(intent, usdc=1, occurred_at=moment))

    async with transaction(engine) as connection:
        rows = await fetch_rows(
            connection,
            "select (select count(*) from jsonb_object_keys(usdc_by_hour)) as n "
            "from preflight.spending_windows",
        )
    assert [row.n for row in rows] == [25, 25]
    await engine.dispose()
