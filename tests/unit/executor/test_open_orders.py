"""What is written while the open orders of a lease are read is never taken from what was read."""

from dataclasses import replace

import pytest

from services.executor.adapters.open_orders import OpenOrders
from services.executor.decisions import RecordedOrder
from shared.db.leases import Lease
from shared.messages.orders import OrderState
from tests.orders import an_order, numbered_order

LEASE = Lease(partition=0, token=1, valid_until=float("inf"))
LEASE_ID = (LEASE.partition, LEASE.token)
ORDER = an_order(state=OrderState.MATCHED)


class KeptLease:
    def lease_for(self, key: str) -> Lease:
        return LEASE

    def kept_lease_for(self, key: str) -> Lease | None:
        return LEASE

    def keeps(self, partition: int, token: int) -> bool:
        return (partition, token) == LEASE_ID


@pytest.fixture
def known() -> OpenOrders:
    known = OpenOrders(KeptLease())
    known.begin_reading([LEASE_ID])
    return known


def end_reading(known: OpenOrders) -> None:
    known.end_reading([LEASE_ID], [RecordedOrder(order=ORDER, trades=())])


def test_an_order_is_known_as_it_was_read(known: OpenOrders) -> None:
    end_reading(known)

    assert (known.find(ORDER.intent_id), known.find_trades(ORDER.intent_id)) == (ORDER, ())


def test_an_order_that_was_written_meanwhile_is_known_as_it_was_written(known: OpenOrders) -> None:
    written = an_order(state=OrderState.UNKNOWN)
    known.follow(written, LEASE)
    end_reading(known)

    assert known.find(ORDER.intent_id) == written
    assert known.find_trades(ORDER.intent_id) is None


def test_an_order_that_ended_meanwhile_is_not_open(known: OpenOrders) -> None:
    known.follow(an_order(state=OrderState.CONFIRMED), LEASE)
    end_reading(known)

    assert known.list_open() == []


def test_trades_that_were_changed_meanwhile_are_read_again(known: OpenOrders) -> None:
    known.forget_trades(ORDER.intent_id, LEASE)
    end_reading(known)

    assert known.find(ORDER.intent_id) == ORDER
    assert known.find_trades(ORDER.intent_id) is None


def test_an_order_that_may_have_been_written_meanwhile_is_read_again(known: OpenOrders) -> None:
    known.forget(ORDER.intent_id, LEASE)
    end_reading(known)

    assert known.find(ORDER.intent_id) is None
    known.add(ORDER, LEASE, trades=None)
    assert known.list_open() == [ORDER]


def test_open_orders_are_listed_as_they_became_known_until_they_end(known: OpenOrders) -> None:
    known.end_reading([LEASE_ID], [])
    orders = [numbered_order(number, proxy=f"0x{9 - number:040x}") for number in range(1, 5)]
    for order in orders:
        known.add(order, LEASE, trades=())

    known.follow(replace(orders[2], state=OrderState.CONFIRMED), LEASE)
    known.follow(replace(orders[0], state=OrderState.MATCHED), LEASE)

    first, *others = known.list_open()
    assert first.state is OrderState.MATCHED
    assert others == [orders[1], orders[3]]
    assert known.find_by_hash(orders[2].order_hash) is None
