"""An executor that has lost its partition, and does not know it, can do nothing; one that has just
got it looks first.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.startup_check import StartupCheck, StartupCheckPending
from services.executor.adapters.venue import ClobVenue
from services.executor.decisions import Order
from shared.db.leases import Leases, NotLeaseHolder
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.orders import OrderOverdue, OrderState, TradeReported
from shared.testing.waiting import eventually
from tests.builders import NOON, OTHER_PROXY, PROXY, a_trade, an_intent, approved, resolved, seconds
from tests.contract.test_orders import an_order
from tests.leases import executor_leases

pytestmark = pytest.mark.integration

OTHER = "0x" + "ee" * 32


async def zombie_and_heir(engine: AsyncEngine) -> tuple[Leases, Leases]:
    """Two that think they hold everything: the first by a clock that stood still, the second by
    right.
    """
    zombie = await executor_leases(engine, "zombie", lasts=timedelta(milliseconds=10))
    zombie._clock = lambda: 0.0
    heir = await executor_leases(engine, "heir")

    async def has_all() -> bool:
        await heir.refresh()
        return heir.is_ready

    await eventually(has_all)
    return zombie, heir


async def test_whatever_a_zombie_writes_is_refused_and_its_heir_writes(engine: AsyncEngine) -> None:
    held_by_zombie, held_by_heir = await zombie_and_heir(engine)
    zombie, heir = PostgresOrders(engine, held_by_zombie), PostgresOrders(engine, held_by_heir)
    order = an_order()
    await heir.record(order, approved(an_intent(intent_id=order.intent_id)))

    other = an_order(intent_id="f" * 32, order_hash=OTHER)
    with pytest.raises(NotLeaseHolder):
        await zombie.record(other, approved(an_intent(intent_id=other.intent_id)))
    with pytest.raises(NotLeaseHolder):
        await zombie.save(replace(order, state=OrderState.KILLED), now=NOON)
    with pytest.raises(NotLeaseHolder):
        await zombie.record_trade(a_trade(), now=NOON)
    with pytest.raises(NotLeaseHolder):
        await zombie.record_settlement(resolved(), now=NOON)

    assert await heir.load(order.intent_id) == order
    assert await heir.load(other.intent_id) is None
    assert await heir.load_trades(order.order_hash) == ()
    assert len(await heir.record_trade(a_trade(), now=NOON)) == 1


async def test_in_one_group_the_rows_of_a_lost_partition_fail_alone(engine: AsyncEngine) -> None:
    leases = await executor_leases(engine)
    lost, partition = PROXY, leases.lease_for(PROXY).partition
    kept = next(
        proxy
        for proxy in (f"0x{number:040x}" for number in range(100))
        if leases.lease_for(proxy).partition != partition
    )
    leases._held[partition] = replace(leases._held[partition], token=99)
    orders = PostgresOrders(engine, leases)
    first, second = an_order(proxy=lost), an_order(proxy=kept, intent_id="f" * 32, order_hash=OTHER)

    written = await asyncio.gather(
        *(
            orders.record(order, approved(an_intent(intent_id=order.intent_id, proxy=order.proxy)))
            for order in (first, second)
        ),
        return_exceptions=True,
    )

    assert isinstance(written[0], NotLeaseHolder)
    assert written[1] is second
    assert await orders.load(first.intent_id) is None


async def test_a_zombie_whose_clock_went_on_sends_nothing(engine: AsyncEngine) -> None:
    leases = await executor_leases(engine, lasts=timedelta(seconds=8))
    leases._clock = lambda: float("inf")
    sent: list[Order] = []

    class Wire:
        async def post_order(self, body: str, credentials: object) -> None:
            sent.append(an_order())

    class Ring:
        async def fetch_credentials(self, proxy: str) -> None: ...

    venue = ClobVenue(Wire(), Ring(), leases, now=lambda: NOON)  # type: ignore[arg-type]

    with pytest.raises(NotLeaseHolder):
        await venue.post_order(an_order())
    assert sent == []


@dataclass
class Venue:
    """What it is asked for, and what it says."""

    trades: tuple[TradeReported, ...] = ()
    is_away: bool = False
    asked: list[str] = field(default_factory=list)

    async def trades_of_all(self, proxy: str, orders: list[Order]) -> list[TradeReported]:
        if self.is_away:
            raise Transient("the venue cannot be reached")
        self.asked.append(proxy)
        hashes = {order.order_hash for order in orders}
        return [trade for trade in self.trades if trade.order_hash in hashes]


@dataclass
class Reconciling:
    reconciliation: StartupCheck
    published: list[Message]
    running: asyncio.Task[None]


@pytest.fixture
async def leases(engine: AsyncEngine) -> Leases:
    return await executor_leases(engine)


async def reconciling(engine: AsyncEngine, leases: Leases, venue: Any) -> Reconciling:
    published: list[Message] = []

    async def publish(message: Message) -> None:
        published.append(message)

    reconciliation = StartupCheck(
        PostgresOrders(engine, leases), venue, leases, now=lambda: NOON + seconds(9), batch_size=40
    )
    return Reconciling(reconciliation, published, asyncio.create_task(reconciliation(publish)))


async def test_every_open_order_is_looked_at_before_anything_new_is_begun(
    engine: AsyncEngine, leases: Leases
) -> None:
    orders = PostgresOrders(engine, leases)
    matched, silent = an_order(), an_order(proxy=OTHER_PROXY, intent_id="f" * 32, order_hash=OTHER)
    for order in (matched, silent):
        await orders.record(
            order, approved(an_intent(intent_id=order.intent_id, proxy=order.proxy))
        )
    venue = Venue(trades=(a_trade(),), is_away=True)
    under_way = await reconciling(engine, leases, venue)

    assert not under_way.reconciliation.is_ready
    with pytest.raises(StartupCheckPending):
        under_way.reconciliation.require_ready(PROXY)

    venue.is_away = False
    await eventually(lambda: under_way.reconciliation.is_ready)
    under_way.running.cancel()

    assert sorted(venue.asked) == sorted([PROXY, OTHER_PROXY])
    assert {
        (type(each), each.order_hash)
        for each in under_way.published
        if isinstance(each, TradeReported | OrderOverdue)
    } == {
        (TradeReported, matched.order_hash),
        (OrderOverdue, silent.order_hash),
    }
    under_way.reconciliation.require_ready(PROXY)


async def test_a_partition_that_comes_back_under_a_new_lease_is_looked_at_again(
    engine: AsyncEngine, leases: Leases
) -> None:
    under_way = await reconciling(engine, leases, Venue())
    await eventually(lambda: under_way.reconciliation.is_ready)
    lease = leases.lease_for(PROXY)

    leases._held[lease.partition] = replace(lease, token=lease.token + 1)

    with pytest.raises(StartupCheckPending):
        under_way.reconciliation.require_ready(PROXY)
    await eventually(lambda: under_way.reconciliation.is_ready)
    under_way.running.cancel()
