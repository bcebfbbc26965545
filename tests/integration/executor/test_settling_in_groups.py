"""However many orders end by the fills of one block, no statement has more than a group of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.executor.adapters.orders import PostgresOrders
from services.executor.decisions import NewOrder, Order, Settlement
from shared.db.engine import engine_scope
from shared.db.group_commit import MAX_GROUP_SIZE
from shared.messages.orders import OrderState
from tests.builders import NOON, an_intent, approved
from tests.integration.db.plans import observed_statements
from tests.leases import executor_leases
from tests.orders import numbered_order
from tests.patience import patient_settings

pytestmark = pytest.mark.integration


def orders(first: int, count: int) -> list[Order]:
    return [numbered_order(number) for number in range(first, first + count)]


def an_end(order: Order) -> Settlement:
    return Settlement(before=order, after=replace(order, state=OrderState.CONFIRMED), trades=())


async def test_settlements_are_saved_in_groups_with_results_in_their_order(
    migrated_database_url: str,
) -> None:
    known, unknown = orders(1, MAX_GROUP_SIZE + 1), orders(2 * MAX_GROUP_SIZE, 2)
    settled = [known[0], unknown[0], *known[1:], unknown[1]]
    groups: list[int] = []

    async def observe(_driver: Any, statement: str, values: Sequence[Any]) -> None:
        if "insert into executor.order_states" in statement:
            groups.append(max(len(each) for each in values if isinstance(each, list)))

    async with engine_scope(patient_settings(migrated_database_url)) as engine:
        adapter = PostgresOrders(engine, await executor_leases(engine))
        await adapter.record_all(
            [
                NewOrder(
                    order=order,
                    approved=approved(an_intent(intent_id=order.intent_id)),
                    traceparent=None,
                )
                for order in known
            ]
        )
        with observed_statements(engine, observe):
            results = await adapter.settle_all([an_end(order) for order in settled], now=NOON)
        states = [await adapter.load(order.intent_id) for order in (known[0], known[-1])]

    assert groups == [MAX_GROUP_SIZE, 3]
    assert results == [order in known for order in settled]
    assert [order and order.state for order in states] == [OrderState.CONFIRMED] * 2
