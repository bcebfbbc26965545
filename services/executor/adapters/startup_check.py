"""Have all orders that were left open been looked at, so that new ones may be taken?

Whoever comes to hold a partition does not know what the one before it was doing. So nothing new is
begun for its proxies before the venue has been asked about every order of theirs that is not final:
what it says is published as reports, as the feed's looks are.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.venue import ClobVenue, overdue
from services.executor.decisions import Order
from shared.db.leases import Lease, Leases
from shared.domain.errors import InvalidMessage, Transient
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
AGAIN_AFTER_S = 1.0


class StartupCheckPending(Transient):
    """The partition's open orders have not all been looked at yet."""


class StartupCheck:
    """Once for every lease, that is for every time that a partition comes to us. A feed of the
    service, and a part of its readiness.
    """

    name = "reconciliation"

    def __init__(
        self,
        orders: PostgresOrders,
        venue: ClobVenue,
        leases: Leases,
        *,
        now: Callable[[], datetime],
        at_a_time: int,
    ) -> None:
        """``at_a_time``: wallets whose trades are asked for at once, and in a second."""
        self._orders, self._venue, self._leases, self._now, self._at_a_time = (
            orders,
            venue,
            leases,
            now,
            at_a_time,
        )
        self._done: frozenset[tuple[int, int]] = frozenset()
        """Partition and token of each lease whose orders have been looked at."""

    @property
    def is_ready(self) -> bool:
        return all((lease.partition, lease.token) in self._done for lease in self._leases.held)

    def permit(self, proxy: str) -> None:
        """Whether something new may be begun for the proxy. Raises: NotTheHolder; NotReconciled."""
        lease = self._leases.lease_for(proxy)
        if (lease.partition, lease.token) not in self._done:
            raise StartupCheckPending(
                f"the open orders of partition {lease.partition} are still being looked at"
            )

    async def __call__(self, publish: Publish) -> None:
        while True:
            missing = {(lease.partition, lease.token) for lease in self._leases.held} - self._done
            try:
                if missing:
                    await self._reconcile(missing, publish)
            except Transient as error:
                logger.warning(
                    "open orders could not be looked at, nothing new is taken meanwhile: %s", error
                )
                await asyncio.sleep(AGAIN_AFTER_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _reconcile(self, missing: Collection[tuple[int, int]], publish: Publish) -> None:
        open_by_proxy: dict[str, list[Order]] = {}
        for order in await self._orders.open_orders():
            lease = self._lease_of(order.proxy)
            if lease is not None and (lease.partition, lease.token) in missing:
                open_by_proxy.setdefault(order.proxy, []).append(order)
        proxies = list(open_by_proxy)
        for start in range(0, len(proxies), self._at_a_time):
            if start:
                await asyncio.sleep(AGAIN_AFTER_S)
            group = {
                proxy: open_by_proxy[proxy] for proxy in proxies[start : start + self._at_a_time]
            }
            await self._look_at(group, publish)
        self._done = (
            frozenset(missing)
            | {(lease.partition, lease.token) for lease in self._leases.held} & self._done
        )
        if proxies:
            logger.info(
                "the open orders of %d proxies were looked at, of partitions %s",
                len(proxies),
                sorted(p for p, _ in missing),
            )

    async def _look_at(
        self, open_by_proxy: Mapping[str, Sequence[Order]], publish: Publish
    ) -> None:
        await asyncio.gather(
            *(self._look_at_one(proxy, orders, publish) for proxy, orders in open_by_proxy.items())
        )

    async def _look_at_one(self, proxy: str, orders: Sequence[Order], publish: Publish) -> None:
        try:
            trades = await self._venue.fetch_trades(proxy, orders)
        except (
            InvalidMessage
        ) as error:  # each order is then asked for by itself, until a human is called
            logger.error("the trades of a proxy cannot be read: %s", error)
            trades = []
        traces = {order.order_hash: order.traceparent for order in orders}
        for trade in trades:
            with tracing.continue_trace(traces[trade.order_hash]):
                await publish(trade)
        found = {trade.order_hash for trade in trades}
        for order in orders:
            if order.order_hash not in found:
                with tracing.continue_trace(order.traceparent):
                    await publish(overdue(order, now=self._now()))

    def _lease_of(self, proxy: str) -> Lease | None:
        try:
            return self._leases.lease_for(proxy)
        except Transient:
            return None
