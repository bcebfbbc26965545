"""While the venue takes no orders it gets one, however many wait: its own count is the judge."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.executor.adapters.gates import VenueGates
from services.executor.decisions import VenueReply
from shared.db.engine import open_engine
from shared.messages.orders import OrderState
from shared.testing.waiting import eventually
from tests.builders import NOON, seconds
from tests.fakes import Clock
from tests.integration.executor.executor_at_venue import ExecutorAtVenue, executor_at_venue
from tests.integration.paper_venue.venue import PaperVenue
from tests.patience import patient_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

INTERVAL = seconds(60)
FIRST, OTHERS = 1, range(2, 7)


@pytest.fixture
def gate_clock() -> Clock:
    """Stands still unless a test moves it."""
    return Clock(NOON)


@pytest.fixture
async def executor(
    venue: PaperVenue, rpc_url: str, migrated_database_url: str, gate_clock: Clock
) -> AsyncIterator[ExecutorAtVenue]:
    engine = open_engine(patient_settings(migrated_database_url))
    gates = VenueGates(now=gate_clock, probe_interval=INTERVAL)
    async with executor_at_venue(venue, rpc_url, engine, gates=gates) as executor:
        yield executor
    await engine.dispose()


@pytest.mark.parametrize("fault", ["disabled", "cancel-only"])
async def test_orders_wait_while_the_venue_is_closed_and_go_through_when_it_opens(
    executor: ExecutorAtVenue, gate_clock: Clock, fault: str
) -> None:
    await executor.set_faults({fault: {}})
    copies = {FIRST: asyncio.create_task(executor.copy(FIRST, valid_for=seconds(300)))}
    await eventually(lambda: waits(executor, FIRST), within=60, what="the first order waits")
    for number in OTHERS:
        copies[number] = asyncio.create_task(executor.copy(number, valid_for=seconds(300)))
    await eventually(lambda: all_wait(executor), within=60, what="the other orders wait")

    assert await executor.fetch_strikes() == {fault: 1}

    await executor.set_faults({})
    gate_clock.now += INTERVAL
    orders = [await executor.wait_until_final(await copy) for copy in copies.values()]

    assert {order.state for order in orders} == {OrderState.CONFIRMED}
    assert await executor.fetch_shares_at_venue() == sum(order.shares for order in orders)


async def all_wait(executor: ExecutorAtVenue) -> bool:
    return all([await waits(executor, number) for number in OTHERS])


async def waits(executor: ExecutorAtVenue, number: int) -> bool:
    order = await executor.orders.load(f"{number:032x}")
    return order is not None and (
        (order.state, order.last_reply) == (OrderState.SIGNED, VenueReply.RETRY_LATER)
    )


@pytest.mark.parametrize(
    ("fault", "reason"), [("geoblock", "region_blocked"), ("closed-only", "closed_only")]
)
async def test_orders_that_the_venue_would_refuse_end_without_being_posted(
    executor: ExecutorAtVenue, gate_clock: Clock, fault: str, reason: str
) -> None:
    await executor.set_faults({fault: {}})

    for number in (FIRST, *OTHERS):
        order = await executor.wait_until_final(await executor.copy(number))
        assert order.state is OrderState.REJECTED
        assert order.reason.startswith(f"{reason}: ")
        assert (order.posted_at is None) is (number != FIRST)
    assert await executor.fetch_strikes() == {fault: 1}

    gate_clock.now += INTERVAL
    await executor.wait_until_final(await executor.copy(7))
    assert await executor.fetch_strikes() == {fault: 2}

    await executor.set_faults({})
    gate_clock.now += INTERVAL
    for number in (8, 9):
        order = await executor.wait_until_final(await executor.copy(number))
        assert order.state is OrderState.CONFIRMED, order.reason
