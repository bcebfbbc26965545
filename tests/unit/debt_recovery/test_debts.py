"""A debt is recorded once, and summed by creditor."""

from hypothesis import given
from hypothesis import strategies as st

from services.debt_recovery.decisions import build_debt, sum_owed
from services.debt_recovery.handler import Handler
from shared.messages.debts import Creditor
from tests.builders import NOON, a_debt, usdc
from tests.fakes import FakeDebts

AMOUNTS = st.lists(st.tuples(st.sampled_from(Creditor), st.integers(1, 10**15)))


async def test_a_debt_is_recorded_once_however_often_it_is_raised() -> None:
    debts = FakeDebts()
    handler = Handler(debts=debts)

    for raised in (a_debt(), a_debt(usdc=usdc(7)), a_debt(debt_id="debt-2")):
        assert await handler.on_debt_raised(raised) == []

    assert [
        (debt.debt_id, debt.usdc, debt.raised_at) for debt in await debts.load_outstanding()
    ] == [
        ("debt-1", usdc(5), NOON),
        ("debt-2", usdc(5), NOON),
    ]


@given(AMOUNTS)
def test_the_sum_owed_adds_up_the_debts_to_each_creditor(
    amounts: list[tuple[Creditor, int]],
) -> None:
    debts = [
        build_debt(a_debt(debt_id=str(number), creditor=creditor, usdc=amount))
        for number, (creditor, amount) in enumerate(amounts)
    ]

    assert sum(sum_owed(creditor, debts) for creditor in Creditor) == sum(
        amount for _, amount in amounts
    )
    assert sum_owed(Creditor.FOLLOWER, debts) == sum(
        amount for creditor, amount in amounts if creditor is Creditor.FOLLOWER
    )
