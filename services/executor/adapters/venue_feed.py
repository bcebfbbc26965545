"""Asks the venue about the open orders that the chain's fills do not end in time: publishes the
trades of matched ones, and those that are overdue.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from services.executor.adapters.orders import PostgresOrders
from services.executor.adapters.unreadable_rows import ParkedRows
from services.executor.adapters.venue import ClobVenue, build_overdue
from services.executor.adapters.wallet_retries import WalletRetries
from services.executor.decisions import (
    MIN_EMPTY_LOOKUPS,
    Order,
    is_settlement_overdue,
    is_worth_sending_again,
)
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.orders import OrderState, TradeStatus
from shared.observe import metrics, tracing
from shared.polymarket.request_budget import Priority
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)

GRACE_S = 0.5
"""How long after its interval a poll waits for wallets that the venue has not answered for yet.
Their requests go on meanwhile, and hold up no later poll."""
MAX_POLLS_IN_FLIGHT = 2
"""Requests without an answer are at most those of so many whole polls: a venue that answers none
gets no more of them, and lookups still get a connection."""


class VenueFeed:
    """A feed of the service: the handler acts on the reports that it publishes."""

    def __init__(
        self,
        orders: PostgresOrders,
        venue: ClobVenue,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        poll_interval: timedelta,
        fills_within: timedelta,
        overdue_after: timedelta,
        verify_for: timedelta,
        max_wallets_per_poll: int,
    ) -> None:
        """``fills_within``: for so long after it was posted, a matched order's fills are expected
        from the chain. ``max_wallets_per_poll``: wallets whose trades are fetched in one poll; half
        as many orders may be published as overdue in it.
        """
        self._orders, self._venue, self._owns, self._now = orders, venue, owns, now
        self._poll_interval, self._overdue_after = poll_interval, overdue_after
        self._fills_within = fills_within
        self._max_wallets_per_poll = max_wallets_per_poll
        self._recheck_after = verify_for / MIN_EMPTY_LOOKUPS
        self._poll_number = 0
        self._last_poll_by_proxy: dict[str, int] = {}
        """The number of the poll that last fetched a proxy's trades."""
        self._published: dict[tuple[str, str], tuple[TradeStatus, str]] = {}
        """By order hash and trade id of open orders: the status and transaction last published."""
        self._overdue_published_at: dict[str, datetime] = {}
        """By intent id of open orders."""
        self._times_overdue: dict[str, int] = {}
        """By intent id of open orders: how often they were published as overdue."""
        self._parked_rows, self._retries = ParkedRows(now=now), WalletRetries(now=now)
        self._fetches: dict[str, asyncio.Task[None]] = {}
        """By proxy: the request for its trades that the venue has not answered yet."""

    async def __call__(self, publish: Publish) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while True:
                due = clock() + self._poll_interval.total_seconds()
                try:
                    await self._poll(publish)
                except Transient as error:
                    logger.warning("open orders could not be polled, retrying: %s", error)
                await asyncio.sleep(max(0.0, due - clock()))
        finally:
            for fetch in self._fetches.values():
                fetch.cancel()
            await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    async def _poll(self, publish: Publish) -> None:
        ours = self._list_own_orders()
        metrics.orders_unknown(sum(order.state is OrderState.UNKNOWN for order in ours))
        metrics.orders_alerted(sum(order.alerted_at is not None for order in ours))
        self._keep_only(ours)
        now = self._now()
        overdue = sorted(
            (order for order in ours if self._is_overdue(order, now=now)), key=self._last_checked_at
        )
        for order in overdue[: max(1, self._max_wallets_per_poll // 2)]:
            await self._publish_overdue(order, publish)
        self._end_answered_fetches()
        matched: dict[str, list[Order]] = {}
        for order in ours:
            if self._is_late(order, now=now) and self._is_due(order.proxy):
                matched.setdefault(order.proxy, []).append(order)
        proxies = self._next_wallets(matched)
        # Spread over the time until the next poll: published all at once, the reports would delay
        # every copy that arrives at that moment.
        pause_s = self._poll_interval.total_seconds() / max(1, len(proxies))
        started = {
            proxy: asyncio.create_task(
                self._publish_trades(proxy, matched[proxy], publish, after_s=number * pause_s)
            )
            for number, proxy in enumerate(proxies)
        }
        self._fetches |= started
        if started:
            await asyncio.wait(
                started.values(), timeout=self._poll_interval.total_seconds() + GRACE_S
            )
        self._end_answered_fetches()

    def _list_own_orders(self) -> list[Order]:
        orders = self._orders.list_open()
        proxies = set(filter(self._owns, {order.proxy for order in orders}))
        return [order for order in orders if order.proxy in proxies]

    def _end_answered_fetches(self) -> None:
        """Raises: what a fetch raised unexpectedly."""
        for proxy, fetch in list(self._fetches.items()):
            if fetch.done():
                del self._fetches[proxy]
                fetch.result()

    def _is_late(self, order: Order, *, now: datetime) -> bool:
        """Whether a matched order's fills should have come from the chain by now."""
        if order.state is not OrderState.MATCHED:
            return False
        return now - (order.posted_at or order.signed_at) >= self._fills_within

    def _is_due(self, proxy: str) -> bool:
        return proxy not in self._fetches and self._retries.is_due(proxy)

    def _next_wallets(self, proxies: Iterable[str]) -> list[str]:
        """The wallets of this poll, within the venue's rate limit; longest ago polled first. Fewer
        while many requests of earlier polls have no answer.
        """
        free = MAX_POLLS_IN_FLIGHT * self._max_wallets_per_poll - len(self._fetches)
        waiting_longest = sorted(proxies, key=lambda proxy: self._last_poll_by_proxy.get(proxy, 0))
        polled = waiting_longest[: min(self._max_wallets_per_poll, free)]
        self._poll_number += 1
        self._last_poll_by_proxy |= dict.fromkeys(polled, self._poll_number)
        return polled

    async def _publish_trades(
        self, proxy: str, orders: list[Order], publish: Publish, *, after_s: float
    ) -> None:
        await asyncio.sleep(after_s)
        try:
            trades = await self._venue.fetch_trades(proxy, orders, priority=Priority.POLL)
        except (Transient, InvalidMessage) as error:
            pause = self._retries.fail(proxy)
            logger.warning(
                "the trades of proxy %s could not be fetched, and are fetched again in %s: %s",
                proxy,
                pause,
                error,
            )
            return
        self._retries.succeed(proxy)
        await self._parked_rows.park(trades.unreadable, publish)
        traces = {order.order_hash: order.traceparent for order in orders}
        for trade in trades.reports:
            key = (trade.order_hash, trade.trade_id)
            shown = (trade.status, trade.transaction_hash)
            if self._published.get(key) != shown:
                with tracing.continue_trace(traces[trade.order_hash]):
                    await publish(trade)
                self._published[key] = shown

    def _is_overdue(self, order: Order, *, now: datetime) -> bool:
        """An unverified order is looked up sooner, because its reservation is held until then. One
        that is sent again after the lookup is left alone twice as long each time: a venue that
        answers it with an unknown text answers the same bytes in the same way, most likely.
        """
        if order.state is OrderState.MATCHED and order.unverified_since is None:
            return order.alerted_at is None and is_settlement_overdue(order, now=now)
        after = self._overdue_after if order.unverified_since is None else self._recheck_after
        if is_worth_sending_again(order, now=now):
            after *= 2 ** self._times_overdue.get(order.intent_id, 0)
        return now - self._last_checked_at(order) >= after

    def _last_checked_at(self, order: Order) -> datetime:
        return max(
            self._overdue_published_at.get(order.intent_id, order.signed_at),
            order.unverified_since or order.signed_at,
        )

    async def _publish_overdue(self, order: Order, publish: Publish) -> None:
        now = self._now()
        with tracing.continue_trace(order.traceparent):
            await publish(build_overdue(order, now=now))
        self._overdue_published_at[order.intent_id] = now
        self._times_overdue[order.intent_id] = self._times_overdue.get(order.intent_id, 0) + 1

    def _keep_only(self, orders: Sequence[Order]) -> None:
        """Forget what was published of orders that are no longer open, and wallets without one."""
        proxies = {order.proxy for order in orders}
        self._last_poll_by_proxy = {
            proxy: number for proxy, number in self._last_poll_by_proxy.items() if proxy in proxies
        }
        hashes = {order.order_hash for order in orders}
        intents = {order.intent_id for order in orders}
        self._published = {key: shown for key, shown in self._published.items() if key[0] in hashes}
        self._overdue_published_at = {
            intent: at for intent, at in self._overdue_published_at.items() if intent in intents
        }
        self._times_overdue = {
            intent: times for intent, times in self._times_overdue.items() if intent in intents
        }
