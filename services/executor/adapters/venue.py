"""Posts orders to the venue and looks them up there."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from services.executor.adapters.orders import LeaseHolder
from services.executor.adapters.signers import Keyring
from services.executor.decisions import Order, OrderLookup
from shared.messages.orders import OrderOverdue, TradeReported
from shared.observe import metrics, tracing
from shared.polymarket.clob import Clob
from shared.polymarket.replies import Reply, RetryLater
from shared.polymarket.trades import VenueTrade, parse_trade

LOOKBACK = timedelta(seconds=30)
"""Trades are fetched from so long before an order was signed: the venue's clock may differ."""
MAX_WAIT_S = 60
"""Longer waits that the venue asks for are cut: by then the order has expired."""


class ClobVenue:
    """The venue's CLOB API for the orders of our followers."""

    def __init__(
        self, clob: Clob, keyring: Keyring, leases: LeaseHolder, *, now: Callable[[], datetime]
    ) -> None:
        self._clob, self._keyring, self._leases, self._now = clob, keyring, leases, now
        self._waits: dict[str, tuple[datetime, str]] = {}
        """By proxy: until when it posts nothing because the venue asked its signer to wait, and the
        venue's text."""

    async def post_order(self, order: Order) -> Reply:
        """Raises: NotLeaseHolder. The lease is checked right before the first byte is sent: the
        database cannot refuse what the venue has accepted.
        """
        if (wait := self._waits.get(order.proxy)) is not None:
            until, text = wait
            if self._now() < until:
                return RetryLater(text)
            del self._waits[order.proxy]
        credentials = await self._keyring.fetch_credentials(order.proxy)
        self._leases.lease_for(order.proxy)
        with tracing.start_client_span(
            "POST /order", **{"slipstream.order_hash": order.order_hash}
        ):
            reply = await self._clob.post_order(order.body, credentials)
        metrics.order_posted(reply)
        if isinstance(reply, RetryLater) and reply.retry_after_s:
            self._waits[order.proxy] = (
                self._now() + timedelta(seconds=min(reply.retry_after_s, MAX_WAIT_S)),
                reply.text,
            )
        return reply

    async def look_up(self, order: Order) -> OrderLookup:
        trades = tuple(await self.fetch_trades(order.proxy, [order]))
        is_open = not trades and await self._clob.is_order_open(
            await self._keyring.fetch_credentials(order.proxy), order.order_hash
        )
        return OrderLookup(trades=trades, is_open=is_open)

    async def fetch_trades(self, proxy: str, orders: Sequence[Order]) -> list[TradeReported]:
        """The venue's trades of these orders of one proxy. Raises: Transient, InvalidMessage."""
        credentials = await self._keyring.fetch_credentials(proxy)
        since = min(order.signed_at for order in orders) - LOOKBACK
        by_hash = {order.order_hash.lower(): order for order in orders}
        trades = []
        for row in await self._clob.fetch_trades(credentials, maker_address=proxy, since=since):
            order = by_hash.get(str(row.get("taker_order_id", "")).lower())
            if order is not None:
                trades.append(
                    build_trade_report(
                        order, parse_trade(row, fee_rate=order.fee_rate), now=self._now()
                    )
                )
        return trades


def build_trade_report(order: Order, trade: VenueTrade, *, now: datetime) -> TradeReported:
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


def build_overdue(order: Order, *, now: datetime) -> OrderOverdue:
    return OrderOverdue(
        message_id=f"{order.intent_id}:overdue:{int(now.timestamp())}",
        occurred_at=now,
        proxy=order.proxy,
        intent_id=order.intent_id,
        order_hash=order.order_hash,
    )
