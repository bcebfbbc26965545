"""The store of debts: the fake and PostgreSQL behave alike."""

from collections.abc import AsyncIterator

import pytest

from services.debt_recovery.adapters import PostgresDebts
from services.debt_recovery.decisions import build_debt
from shared.db.engine import open_engine
from shared.messages.debts import Creditor
from tests.builders import NOON, a_debt, seconds, usdc
from tests.fakes import FakeDebts
from tests.patience import patient_settings

Debts = FakeDebts | PostgresDebts


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def debts(request: pytest.FixtureRequest) -> AsyncIterator[Debts]:
    if request.param == "fake":
        yield FakeDebts()
        return
    engine = open_engine(patient_settings(request.getfixturevalue("migrated_database_url")))
    yield PostgresDebts(engine)
    await engine.dispose()


async def test_a_debt_is_recorded_once_as_it_was_first_raised(debts: Debts) -> None:
    for amount in (5, 7):
        await debts.record(build_debt(a_debt(usdc=usdc(amount))))

    assert await debts.load_outstanding() == [build_debt(a_debt())]


async def test_outstanding_debts_are_sorted_oldest_first(debts: Debts) -> None:
    raised = [
        a_debt(debt_id=name, occurred_at=NOON + seconds(late), creditor=Creditor.FOLLOWER)
        for name, late in (("c", 1), ("b", 0), ("a", 1))
    ]
    for each in raised:
        await debts.record(build_debt(each))

    assert [debt.debt_id for debt in await debts.load_outstanding()] == ["b", "a", "c"]
