"""An executor that lost its partition without noticing can write nothing; one that has just got it
checks its open orders first.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.executor.adapters.gates import VenueGates
from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.startup_check import StartupCheck, StartupCheckPending
from services.executor.adapters.venue import ClobVenue, WalletTrades
from services.executor.decisions import Order
from shared.clock import utc_now
from shared.db.leases import Leases, NotLeaseHolder
from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.orders import OrderOverdue, OrderState, TradeReported
from shared.testing.waiting import eventually
from tests.builders import NOON, OTHER_PROXY, PROXY, a_trade, an_intent, approved, resolved
from tests.leases import executor_leases
from tests.orders import an_order, record_trade

pytestmark = pytest.mark.integration

OTHER = "0x" + "ee" * 32


async def zombie_and_successor(engine: AsyncEngine) -> tuple[Leases, Leases]:
    """Two instances that both count as lease holders: the first because its clock stands still, the
    second by right.
    """
    zombie = await executor_leases(engine, "zombie", duration=timedelta(milliseconds=10))
    zombie._clock = lambda: 0.0
    successor = await executor_leases(engine, "successor")

    async def has_all() -> bool:
        await successor.refresh()
        return successor.is_ready

    await eventually(has_all)
    return zombie, successor


async def test_whatever_a_zombie_writes_is_refused_and_its_successor_can_write(
    engine: AsyncEngine,
) -> None:
    zombie_leases, successor_leases = await zombie_and_successor(engine)
    zombie = PostgresOrders(engine, zombie_leases)
    successor = PostgresOrders(engine, successor_leases)
    order = an_order()
    await successor.record(order, approved(an_intent(intent_id=order.intent_id)))

    other = an_order(intent_id="f" * 32, order_hash=OTHER)
    with pytest.raises(NotLeaseHolder):
        await zombie.record(other, approved(an_intent(intent_id=other.intent_id)))
    with pytest.raises(NotLeaseHolder):
        await zombie.save(replace(order, state=OrderState.KILLED), now=NOON)
    with pytest.raises(NotLeaseHolder):
        await record_trade(zombie, a_trade())
    with pytest.raises(NotLeaseHolder):
        await zombie.record_settlement(resolved(), now=NOON)

    assert await successor.load(order.intent_id) == order
    assert await successor.load(other.intent_id) is None
    assert await successor.load_trades(order.intent_id) == ()
    assert len(await record_trade(successor, a_trade())) == 1


async def test_in_a_group_commit_only_the_rows_of_a_lost_partition_fail(
    engine: AsyncEngine,
) -> None:
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


async def test_a_zombie_whose_lease_has_expired_by_its_own_clock_posts_nothing(
    engine: AsyncEngine,
) -> None:
    leases = await executor_leases(engine, duration=timedelta(seconds=8))
    leases._clock = lambda: float("inf")
    posted: list[str] = []

    class RecordingClob:
        async def post_order(self, body: str, credentials: object) -> None:
            posted.append(body)

    class NoCredentials:
        async def fetch_credentials(self, proxy: str) -> None: ...

    gates = VenueGates(now=lambda: NOON, probe_interval=timedelta(seconds=1))
    venue = ClobVenue(RecordingClob(), NoCredentials(), leases, gates, now=lambda: NOON)  # type: ignore[arg-type]

    with pytest.raises(NotLeaseHolder):
        await venue.post_order(an_order())
    assert posted == []


@dataclass
class Venue:
    """Shows fixed trades, and remembers for which proxies it was asked."""

    trades: tuple[TradeReported, ...] = ()
    is_unreachable: bool = False
    queried: list[str] = field(default_factory=list)

    async def fetch_trades(self, proxy: str, orders: list[Order]) -> WalletTrades:
        if self.is_unreachable:
            raise Transient("the venue cannot be reached")
        self.queried.append(proxy)
        hashes = {order.order_hash for order in orders}
        return WalletTrades(
            reports=tuple(trade for trade in self.trades if trade.order_hash in hashes)
        )


@dataclass
class RunningCheck:
    check: StartupCheck
    published: list[Message]
    task: asyncio.Task[None]


@pytest.fixture
async def leases(engine: AsyncEngine) -> Leases:
    return await executor_leases(engine)


async def start_check(engine: AsyncEngine, leases: Leases, venue: Any) -> RunningCheck:
    published: list[Message] = []

    async def publish(message: Message) -> None:
        published.append(message)

    check = StartupCheck(PostgresOrders(engine, leases), venue, leases, now=utc_now, batch_size=40)
    return RunningCheck(check, published, asyncio.create_task(check(publish)))


async def test_every_open_order_is_checked_before_anything_new_is_begun(
    engine: AsyncEngine, leases: Leases
) -> None:
    orders = PostgresOrders(engine, leases)
    matched, silent = an_order(), an_order(proxy=OTHER_PROXY, intent_id="f" * 32, order_hash=OTHER)
    for order in (matched, silent):
        await orders.record(
            order, approved(an_intent(intent_id=order.intent_id, proxy=order.proxy))
        )
    venue = Venue(trades=(a_trade(),), is_unreachable=True)
    running = await start_check(engine, leases, venue)

    assert not running.check.is_ready
    with pytest.raises(StartupCheckPending):
        running.check.require_ready(PROXY)

    await eventually(lambda: running.check.is_ready)
    with pytest.raises(StartupCheckPending):
        running.check.require_ready(PROXY)

    venue.is_unreachable = False
    await eventually(lambda: len(running.published) == 2)
    running.task.cancel()

    assert sorted(venue.queried) == sorted([PROXY, OTHER_PROXY])
    assert {
        (type(each), each.order_hash)
        for each in running.published
        if isinstance(each, TradeReported | OrderOverdue)
    } == {
        (TradeReported, matched.order_hash),
        (OrderOverdue, silent.order_hash),
    }
    running.check.require_ready(PROXY)


async def test_a_partition_that_returns_under_a_new_lease_is_checked_again(
    engine: AsyncEngine, leases: Leases
) -> None:
    running = await start_check(engine, leases, Venue())
    await eventually(lambda: running.check.is_ready)
    lease = leases.lease_for(PROXY)

    leases._held[lease.partition] = replace(lease, token=lease.token + 1)

    with pytest.raises(StartupCheckPending):
        running.check.require_ready(PROXY)
    await eventually(lambda: running.check.is_ready)
    running.task.cancel()
