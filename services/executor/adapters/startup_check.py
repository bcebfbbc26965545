"""Checks every open order of a partition at the venue before new orders are made for it.

An instance that gets a partition does not know what the previous one was doing. So nothing new is
begun for its proxies until the venue was asked about each of their orders that is not final. What
it shows is published as reports, as ``VenueFeed`` publishes its own. A wallet that the venue does
not answer for soon is withheld alone. It is asked for again after a pause that grows, with all the
time that its requests may take.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from services.executor.adapters.open_orders import LeaseId
from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.unreadable_rows import ParkedRows
from services.executor.adapters.venue import ClobVenue, WalletTrades, build_overdue
from services.executor.adapters.wallet_retries import WalletRetries
from services.executor.decisions import Order
from shared.db.leases import Leases
from shared.domain.errors import InvalidMessage, Transient
from shared.observe import tracing
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 0.1
RETRY_AFTER_S = 1.0
BATCH_INTERVAL_S = 1.0
ANSWER_WITHIN_S = 3.0
"""A wallet of a batch that the venue does not answer for so soon is withheld: the others would wait
as long as its requests may take. A withheld wallet holds up no other, and has no such limit."""


class StartupCheckPending(Transient):
    """The open orders of the partition or of the wallet have not all been checked yet."""


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
        self._parked_rows, self._retries = ParkedRows(now=now), WalletRetries(now=now)
        self._checked: frozenset[LeaseId] = frozenset()
        """The leases whose open orders were checked, but for those of the withheld wallets."""
        self._withheld: dict[str, LeaseId] = {}
        """By proxy whose open orders could not be checked under this lease."""
        self._rechecks: dict[tuple[str, LeaseId], asyncio.Task[None]] = {}
        """By withheld proxy and lease: the check that the venue has not answered yet."""

    @property
    def is_ready(self) -> bool:
        return self._held() <= self._checked

    def require_ready(self, proxy: str) -> None:
        """Raises: NotLeaseHolder; StartupCheckPending."""
        lease = self._leases.lease_for(proxy)
        lease_id = (lease.partition, lease.token)
        if lease_id not in self._checked:
            raise StartupCheckPending(
                f"the open orders of partition {lease.partition} are still being checked"
            )
        if self._withheld.get(proxy) == lease_id:
            raise StartupCheckPending(f"the open orders of proxy {proxy} could not be checked yet")

    async def __call__(self, publish: Publish) -> None:
        try:
            while True:
                try:
                    if unchecked := self._held() - self._checked:
                        await self._check_leases(unchecked, publish)
                    if due := self._due_wallets():
                        self._start_rechecks(due, publish)
                        await asyncio.sleep(BATCH_INTERVAL_S)
                except Transient as error:
                    logger.warning(
                        "open orders could not be checked, no new orders until they are: %s", error
                    )
                    await asyncio.sleep(RETRY_AFTER_S)
                await asyncio.sleep(CHECK_INTERVAL_S)
                self._end_answered_rechecks()
        finally:
            for recheck in self._rechecks.values():
                recheck.cancel()
            await asyncio.gather(*self._rechecks.values(), return_exceptions=True)

    async def _check_leases(self, unchecked: Collection[LeaseId], publish: Publish) -> None:
        await self._orders.load_leases(unchecked)
        open_by_proxy = self._list_open_orders(lambda proxy: self._lease_id(proxy) in unchecked)
        proxies = list(open_by_proxy)
        for start in range(0, len(proxies), self._batch_size):
            if start:
                await asyncio.sleep(BATCH_INTERVAL_S)
            batch = proxies[start : start + self._batch_size]
            await asyncio.gather(
                *(self._check_in_batch(proxy, open_by_proxy[proxy], publish) for proxy in batch)
            )
        self._checked = frozenset(unchecked) | self._held() & self._checked
        if proxies:
            logger.info(
                "the open orders of %d proxies were checked, of partitions %s; %d are withheld",
                len(proxies),
                sorted(partition for partition, _ in unchecked),
                sum(proxy in self._withheld for proxy in proxies),
            )

    def _start_rechecks(self, due: Mapping[str, LeaseId], publish: Publish) -> None:
        open_by_proxy = self._list_open_orders(lambda proxy: proxy in due)
        for proxy, lease_id in due.items():
            # Those without an open order by now have nothing to be checked.
            orders = open_by_proxy.get(proxy, [])
            self._rechecks[proxy, lease_id] = asyncio.create_task(
                self._check_proxy(proxy, orders, publish, lease_id=lease_id, within_s=None)
            )

    def _end_answered_rechecks(self) -> None:
        """Raises: what a check raised unexpectedly."""
        for key, recheck in list(self._rechecks.items()):
            if recheck.done():
                del self._rechecks[key]
                recheck.result()

    def _list_open_orders(self, includes: Callable[[str], bool]) -> dict[str, list[Order]]:
        """The open orders of the proxies that it includes, by proxy."""
        open_by_proxy: dict[str, list[Order]] = {}
        for order in self._orders.list_open():
            if includes(order.proxy):
                open_by_proxy.setdefault(order.proxy, []).append(order)
        return open_by_proxy

    def _due_wallets(self) -> dict[str, LeaseId]:
        """Withheld wallets that are due, with their leases, and no more than a batch under way;
        those of lost leases are forgotten.
        """
        held = self._held()
        self._withheld = {proxy: lease for proxy, lease in self._withheld.items() if lease in held}
        due = [
            (proxy, lease)
            for proxy, lease in self._withheld.items()
            if (proxy, lease) not in self._rechecks and self._retries.is_due(proxy)
        ]
        return dict(due[: max(0, self._batch_size - len(self._rechecks))])

    async def _check_in_batch(self, proxy: str, orders: Sequence[Order], publish: Publish) -> None:
        await self._check_proxy(
            proxy, orders, publish, lease_id=self._lease_id(proxy), within_s=ANSWER_WITHIN_S
        )

    async def _check_proxy(
        self,
        proxy: str,
        orders: Sequence[Order],
        publish: Publish,
        *,
        lease_id: LeaseId | None,
        within_s: float | None,
    ) -> None:
        """Publish what the venue shows of the orders, and release the wallet, or withhold it. What
        was asked under a lease that is lost by then says nothing about the wallet under another.
        """
        try:
            trades = await self._fetch_trades(proxy, orders, within_s=within_s)
        except Transient as error:
            if lease_id is not None and lease_id == self._lease_id(proxy):
                self._withhold(proxy, lease_id, error)
            return
        await self._parked_rows.park(trades.unreadable, publish)
        traces = {order.order_hash: order.traceparent for order in orders}
        for trade in trades.reports:
            with tracing.continue_trace(traces[trade.order_hash]):
                await publish(trade)
        traded = {trade.order_hash for trade in trades.reports}
        for order in orders:
            if order.order_hash not in traded:
                with tracing.continue_trace(order.traceparent):
                    await publish(build_overdue(order, now=self._now()))
        if self._withheld.get(proxy) in (None, lease_id):
            self._retries.succeed(proxy)
            self._withheld.pop(proxy, None)

    async def _fetch_trades(
        self, proxy: str, orders: Sequence[Order], *, within_s: float | None
    ) -> WalletTrades:
        """Nothing where there are no orders, or where the answer cannot be read: then every
        order is reported as overdue, and the handler looks up each by itself.

        Raises: Transient.
        """
        if not orders:
            return WalletTrades(reports=())
        try:
            async with asyncio.timeout(within_s):
                return await self._venue.fetch_trades(proxy, orders)
        except TimeoutError:
            raise Transient(f"no answer of the venue within {within_s} s") from None
        except InvalidMessage as error:
            logger.error("the venue's trades of proxy %s cannot be read: %s", proxy, error)
            return WalletTrades(reports=())

    def _withhold(self, proxy: str, lease_id: LeaseId, error: Transient) -> None:
        self._withheld[proxy] = lease_id
        logger.warning(
            "the open orders of proxy %s could not be checked, it gets no new orders until they "
            "are, and they are checked again in %s: %s",
            proxy,
            self._retries.fail(proxy),
            error,
        )

    def _held(self) -> set[LeaseId]:
        """The leases that are held now."""
        return {(lease.partition, lease.token) for lease in self._leases.held}

    def _lease_id(self, proxy: str) -> LeaseId | None:
        """The lease for a proxy; None: it is not held."""
        try:
            lease = self._leases.lease_for(proxy)
        except Transient:
            return None
        return lease.partition, lease.token
