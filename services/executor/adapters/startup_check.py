"""Checks every open order of a partition at the venue before new orders are made for it.

An instance that gets a partition does not know what the previous one was doing. So nothing new is
begun for its proxies until the venue was asked about each of their orders that is not final. What
it shows is published as reports, as ``VenueFeed`` publishes its own.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.venue import ClobVenue, build_overdue
from services.executor.decisions import Order
from shared.db.leases import Lease, Leases
from shared.domain.errors import InvalidMessage, Transient
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 0.1
RETRY_AFTER_S = 1.0
BATCH_INTERVAL_S = 1.0


class StartupCheckPending(Transient):
    """The partition's open orders have not all been checked yet."""


class StartupCheck:
    """Runs once for every lease: each time that this instance gets a partition. It is a feed of the
    service and one of its readiness checks.
    """

    name = "startup-check"

    def __init__(
        self,
        orders: PostgresOrders,
        venue: ClobVenue,
        leases: Leases,
        *,
        now: Callable[[], datetime],
        batch_size: int,
    ) -> None:
        """``batch_size``: wallets whose trades are fetched at once, one batch per second."""
        self._orders, self._venue, self._leases = orders, venue, leases
        self._now, self._batch_size = now, batch_size
        self._checked: frozenset[tuple[int, int]] = frozenset()
        """Partition and token of each lease whose open orders were checked."""

    @property
    def is_ready(self) -> bool:
        return self._held() <= self._checked

    def require_ready(self, proxy: str) -> None:
        """Raises: NotLeaseHolder; StartupCheckPending."""
        lease = self._leases.lease_for(proxy)
        if (lease.partition, lease.token) not in self._checked:
            raise StartupCheckPending(
                f"the open orders of partition {lease.partition} are still being checked"
            )

    async def __call__(self, publish: Publish) -> None:
        while True:
            try:
                if unchecked := self._held() - self._checked:
                    await self._check_leases(unchecked, publish)
            except Transient as error:
                logger.warning(
                    "open orders could not be checked, no new orders until they are: %s", error
                )
                await asyncio.sleep(RETRY_AFTER_S)
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def _check_leases(self, unchecked: Collection[tuple[int, int]], publish: Publish) -> None:
        open_by_proxy: dict[str, list[Order]] = {}
        for order in await self._orders.load_open_orders():
            lease = self._lease_for(order.proxy)
            if lease is not None and (lease.partition, lease.token) in unchecked:
                open_by_proxy.setdefault(order.proxy, []).append(order)
        proxies = list(open_by_proxy)
        for start in range(0, len(proxies), self._batch_size):
            if start:
                await asyncio.sleep(BATCH_INTERVAL_S)
            batch = proxies[start : start + self._batch_size]
            await self._check_proxies({proxy: open_by_proxy[proxy] for proxy in batch}, publish)
        self._checked = frozenset(unchecked) | self._held() & self._checked
        if proxies:
            logger.info(
                "the open orders of %d proxies were checked, of partitions %s",
                len(proxies),
                sorted(partition for partition, _ in unchecked),
            )

    async def _check_proxies(
        self, open_by_proxy: Mapping[str, Sequence[Order]], publish: Publish
    ) -> None:
        await asyncio.gather(
            *(self._check_proxy(proxy, orders, publish) for proxy, orders in open_by_proxy.items())
        )

    async def _check_proxy(self, proxy: str, orders: Sequence[Order], publish: Publish) -> None:
        try:
            trades = await self._venue.fetch_trades(proxy, orders)
        except InvalidMessage as error:
            # Then every order is reported as overdue: the handler looks up each by itself.
            logger.error("the venue's trades of proxy %s cannot be read: %s", proxy, error)
            trades = []
        traces = {order.order_hash: order.traceparent for order in orders}
        for trade in trades:
            with tracing.continue_trace(traces[trade.order_hash]):
                await publish(trade)
        traded = {trade.order_hash for trade in trades}
        for order in orders:
            if order.order_hash not in traded:
                with tracing.continue_trace(order.traceparent):
                    await publish(build_overdue(order, now=self._now()))

    def _held(self) -> set[tuple[int, int]]:
        """Partition and token of each lease that is held now."""
        return {(lease.partition, lease.token) for lease in self._leases.held}

    def _lease_for(self, proxy: str) -> Lease | None:
        try:
            return self._leases.lease_for(proxy)
        except Transient:
            return None
