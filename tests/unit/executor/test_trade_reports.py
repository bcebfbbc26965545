"""What the reports of its trades make of an order."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.decisions import FINAL_STATUSES, apply_trades, is_update
from shared.messages.orders import FINAL_STATES, OrderState, TradeStatus
from tests.builders import a_trade, shares, usdc
from tests.orders import an_order

STATUSES = st.sampled_from(TradeStatus)


@given(st.lists(STATUSES, min_size=1, max_size=5))
def test_in_whatever_order_reports_arrive_a_trade_ends_at_the_first_final_status(
    statuses: list[TradeStatus],
) -> None:
    known = None
    for status in statuses:
        report = a_trade(status=status)
        known = report if is_update(known, report) else known

    finals = [status for status in statuses if status in FINAL_STATUSES]
    assert known is not None
    assert not finals or known.status is finals[0]


@pytest.mark.parametrize("status", [TradeStatus.MATCHED, TradeStatus.RETRYING, TradeStatus.MINED])
def test_a_retried_settlement_is_an_update_by_its_new_transaction(status: TradeStatus) -> None:
    known = a_trade(status=status, transaction_hash="0xa")

    assert is_update(known, a_trade(status=status, transaction_hash="0xb"))
    assert not is_update(known, a_trade(status=status, transaction_hash=""))
    assert not is_update(known, known)


def test_the_settlement_of_a_mined_trade_may_be_retried() -> None:
    mined, retrying = a_trade(status=TradeStatus.MINED), a_trade(status=TradeStatus.RETRYING)

    assert is_update(mined, retrying)
    assert is_update(retrying, mined)
    assert not is_update(retrying, a_trade(status=TradeStatus.MATCHED))


@given(st.lists(STATUSES, min_size=1, max_size=4))
def test_an_order_is_final_when_all_its_trades_are_and_counts_those_that_did_not_fail(
    statuses: list[TradeStatus],
) -> None:
    trades = [
        a_trade(trade_id=str(number), status=status) for number, status in enumerate(statuses)
    ]
    counted = [trade for trade in trades if trade.status is not TradeStatus.FAILED]
    order = an_order(state=OrderState.MATCHED, shares=sum(trade.shares for trade in trades))

    (after,) = {apply_trades(order, some) for some in list(permutations(trades))[:6]}

    assert (after.shares, after.usdc) == (shares(10) * len(counted), usdc(5) * len(counted))
    assert (after.state in FINAL_STATES) == all(status in FINAL_STATUSES for status in statuses)
    assert (after.state is OrderState.FAILED) == (not counted)


def test_an_order_with_a_missing_trade_is_not_final() -> None:
    order = an_order(state=OrderState.MATCHED, shares=shares(20))

    assert apply_trades(order, [a_trade(status=TradeStatus.CONFIRMED)]).state is OrderState.MATCHED
