"""The venue: where an order is sent, and where its trades are asked for."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from services.executor.adapters.orders import LeaseHolder, PostgresOrders
from services.executor.adapters.signers import Keyring
from services.executor.decisions import MIN_EMPTY_LOOKUPS, Order, OrderLookup, is_unsettled
from shared.domain.errors import InvalidMessage, Transient
from shared.messages.orders import OrderOverdue, OrderState, TradeReported, TradeStatus
from shared.observe import metrics, tracing
from shared.polymarket.clob import Clob
from shared.polymarket.replies import Reply, RetryLater
from shared.polymarket.trades import VenueTrade, parse_trade
from shared.streams.routes import Publish

logger = logging.getLogger(__name__)


LOOK_BACK = timedelta(seconds=30)
"""Trades are asked for from so long before an order was signed: the venue's clock is its own."""
LONGEST_WAIT_S = 60
"""Whatever the venue asks for: an order's own time is over by then."""


class ClobVenue:
    """The venue, for one order at a time."""

    def __init__(
        self, clob: Clob, keyring: Keyring, leases: LeaseHolder, *, now: Callable[[], datetime]
    ) -> None:
        self._clob, self._keyring, self._leases, self._now = clob, keyring, leases, now
        self._waits: dict[str, tuple[datetime, str]] = {}
        """Until when a proxy sends nothing, because the venue asked its signer to wait; and in
        which words."""

    async def post_order(self, order: Order) -> Reply:
        """Raises: NotTheHolder, looked at right before the first byte leaves: what the venue has
        taken, no database can refuse.
        """
        if (wait := self._waits.get(order.proxy)) is not None:
            until, text = wait
            if self._now() < until:
                return RetryLater(text)
            del self._waits[order.proxy]
        credentials = await self._keyring.credentials(order.proxy)
        self._leases.lease_for(order.proxy)
        with tracing.start_client_span(
            "POST /order", **{"slipstream.order_hash": order.order_hash}
        ):
            reply = await self._clob.post_order(order.body, credentials)
        metrics.order_posted(reply)
        if isinstance(reply, RetryLater) and reply.retry_after_s:
            self._waits[order.proxy] = (
                self._now() + timedelta(seconds=min(reply.retry_after_s, LONGEST_WAIT_S)),
                reply.text,
            )
        return reply

    async def look_up(self, order: Order) -> OrderLookup:
        trades = tuple(await self.fetch_trades(order.proxy, [order]))
        is_open = not trades and await self._clob.is_order_open(
            await self._keyring.credentials(order.proxy), order.order_hash
        )
        return OrderLookup(trades=trades, is_open=is_open)

    async def fetch_trades(self, proxy: str, orders: Sequence[Order]) -> list[TradeReported]:
        """What the venue has of these orders of one proxy. Raises: Transient, InvalidMessage."""
        credentials = await self._keyring.credentials(proxy)
        since = min(order.signed_at for order in orders) - LOOK_BACK
        by_hash = {order.order_hash.lower(): order for order in orders}
        found = []
        for row in await self._clob.fetch_trades(credentials, maker_address=proxy, since=since):
            order = by_hash.get(str(row.get("taker_order_id", "")).lower())
            if order is not None:
                found.append(
                    _reported(order, parse_trade(row, fee_rate=order.fee_rate), now=self._now())
                )
        return found


def _reported(order: Order, trade: VenueTrade, *, now: datetime) -> TradeReported:
    return TradeReported(
        message_id=f"{order.order_hash}:{trade.trade_id}:{trade.status}:{trade.transaction_hash}",
        occurred_at=now,
        proxy=order.proxy,
        intent_id=order.intent_id,
        order_hash=order.order_hash,
        trade_id=trade.trade_id,
        status=trade.status,
        side=order.side,
        token_id=order.token_id,
        shares=trade.shares,
        price=trade.price,
        usdc=trade.usdc,
        fee_usdc=trade.fee_usdc,
        transaction_hash=trade.transaction_hash,
        matched_at=trade.matched_at,
    )


def overdue(order: Order, *, now: datetime) -> OrderOverdue:
    return OrderOverdue(
        message_id=f"{order.intent_id}:overdue:{int(now.timestamp())}",
        occurred_at=now,
        proxy=order.proxy,
        intent_id=order.intent_id,
        order_hash=order.order_hash,
    )


class VenueFeed:
    """Asks the venue for the trades of our open orders, and looks after those that have no answer."""

    def __init__(
        self,
        orders: PostgresOrders,
        venue: ClobVenue,
        *,
        owns: Callable[[str], bool],
        now: Callable[[], datetime],
        look_every: timedelta,
        overdue_after: timedelta,
        verify_for: timedelta,
        at_a_time: int,
    ) -> None:
        """``at_a_time``: wallets whose trades are asked for in one look; half of them may be of
        orders without an outcome.
        """
        self._orders, self._venue, self._owns, self._now = orders, venue, owns, now
        self._look_every, self._overdue_after, self._at_a_time = (
            look_every,
            overdue_after,
            at_a_time,
        )
        self._doubted_after = verify_for / MIN_EMPTY_LOOKUPS
        self._turn_number = 0
        self._turns: dict[str, int] = {}
        """The number of the look in which a wallet was last asked for."""
        self._told: dict[tuple[str, str], tuple[TradeStatus, str]] = {}
        """What was published last of each trade of an open order."""
        self._looked_after: dict[str, datetime] = {}

    async def __call__(self, publish: Publish) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + self._look_every.total_seconds()
            try:
                await self._look(publish)
            except Transient as error:
                logger.warning("the venue's trades could not be looked at: %s", error)
            await asyncio.sleep(max(0.0, due - clock()))

    async def _look(self, publish: Publish) -> None:
        ours = [order for order in await self._orders.open_orders() if self._owns(order.proxy)]
        metrics.orders_unknown(sum(order.state is OrderState.UNKNOWN for order in ours))
        metrics.orders_alerted(sum(order.alerted_at is not None for order in ours))
        self._forget_all_but(ours)
        overdue = sorted(
            (order for order in ours if self._is_overdue(order)), key=self._last_looked_after
        )
        for order in overdue[: max(1, self._at_a_time // 2)]:
            await self._tell_overdue(order, publish)
        matched: dict[str, list[Order]] = {}
        for order in ours:
            if order.state is OrderState.MATCHED:
                matched.setdefault(order.proxy, []).append(order)
        turn = self._turn(matched)
        # Spread over the time until the next look: all at once, their reports would hold up every
        # copy that comes at that moment.
        pause_s = self._look_every.total_seconds() / max(1, len(turn))
        asking = (
            self._tell_trades(proxy, matched[proxy], publish, after_s=number * pause_s)
            for number, proxy in enumerate(turn)
        )
        await asyncio.gather(*asking)

    def _turn(self, proxies: Iterable[str]) -> list[str]:
        """Whose trades are asked for this time: within the venue's rate limit, those first that
        were asked for longest ago.
        """
        waiting = sorted(proxies, key=lambda proxy: self._turns.get(proxy, 0))
        turn = waiting[: self._at_a_time]
        self._turn_number += 1
        self._turns = {proxy: self._turns.get(proxy, 0) for proxy in waiting} | dict.fromkeys(
            turn, self._turn_number
        )
        return turn

    async def _tell_trades(
        self, proxy: str, orders: list[Order], publish: Publish, *, after_s: float
    ) -> None:
        await asyncio.sleep(after_s)
        try:
            trades = await self._venue.fetch_trades(proxy, orders)
        except (Transient, InvalidMessage) as error:
            logger.warning("the trades of a proxy could not be asked for: %s", error)
            return
        traces = {order.order_hash: order.traceparent for order in orders}
        for trade in trades:
            told = (trade.status, trade.transaction_hash)
            if self._told.get((trade.order_hash, trade.trade_id)) != told:
                with tracing.continue_trace(traces[trade.order_hash]):
                    await publish(trade)
                self._told[trade.order_hash, trade.trade_id] = told

    def _is_overdue(self, order: Order) -> bool:
        """An order that waits for nothing but its proof is looked at sooner: its reservation waits
        for it.
        """
        if order.state is OrderState.MATCHED and order.unverified_since is None:
            return order.alerted_at is None and is_unsettled(order, now=self._now())
        after = self._overdue_after if order.unverified_since is None else self._doubted_after
        return self._now() - self._last_looked_after(order) >= after

    def _last_looked_after(self, order: Order) -> datetime:
        return max(
            self._looked_after.get(order.intent_id, order.signed_at),
            order.unverified_since or order.signed_at,
        )

    async def _tell_overdue(self, order: Order, publish: Publish) -> None:
        now = self._now()
        with tracing.continue_trace(order.traceparent):
            await publish(overdue(order, now=now))
        self._looked_after[order.intent_id] = now

    def _forget_all_but(self, orders: Sequence[Order]) -> None:
        hashes, intents = (
            {order.order_hash for order in orders},
            {order.intent_id for order in orders},
        )
        self._told = {key: status for key, status in self._told.items() if key[0] in hashes}
        self._looked_after = {
            intent: at for intent, at in self._looked_after.items() if intent in intents
        }
