"""What was read of the venue's trades of open orders, so that it is not read again.

A wallet's trades are read from the time of the order that is looked for. An order that stays open
for days would have all trades of its wallet since then read with every poll. So what was read once
to the end is known of the orders that were looked for, and later reads begin where it ended, once
their trades add up to what was matched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.executor.decisions import FINAL_STATUSES, Order, is_update
from shared.caching.lru_cache import LruCache
from shared.domain.money import ROUNDING_TOLERANCE_SHARES
from shared.messages.orders import TradeReported

LOOKBACK = timedelta(seconds=30)
"""Trades are read from so long before an order was signed: the venue's clock may differ."""
SHOWN_WITHIN = timedelta(minutes=2)
"""How late the venue may show a trade more than the order's known ones; its replicas lag by
seconds."""
ORDERS_REMEMBERED = 10_000
"""Open orders, with their trades. One that is forgotten is read from its beginning again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRead:
    read_until: datetime | None = None
    """All trades until then were read, and those of the order are known; None: not so far."""
    trades: dict[str, TradeReported] = field(default_factory=dict)
    """By trade id, as the venue showed them last."""

    def covers(self, order: Order) -> bool:
        """Whether the order's trades are known. While one is missing, the venue may show it however
        late.
        """
        shares = sum(trade.shares for trade in self.trades.values())
        return bool(self.trades) and shares + ROUNDING_TOLERANCE_SHARES >= order.shares


class TradeReads:
    def __init__(self) -> None:
        self._reads: LruCache[str, OrderRead] = LruCache(ORDERS_REMEMBERED)

    def read_from(self, orders: Sequence[Order]) -> datetime:
        """From when on a wallet's trades must be read, so that all of these orders are known."""
        return min(self._read_from(order) for order in orders)

    def list_trades(self, orders: Iterable[Order]) -> tuple[TradeReported, ...]:
        """What is known of these orders."""
        return tuple(
            trade for order in orders for trade in self._find(order.order_hash).trades.values()
        )

    def list_changing(
        self, orders: Iterable[Order], *, shown: Iterable[TradeReported]
    ) -> list[TradeReported]:
        """The known trades of these orders that can still change, without those just ``shown``."""
        ids = {trade.trade_id for trade in shown}
        return [
            trade
            for trade in self.list_trades(orders)
            if trade.trade_id not in ids and trade.status not in FINAL_STATUSES
        ]

    def remember(
        self, order: Order, shown: Iterable[TradeReported], *, read_until: datetime | None
    ) -> None:
        """Add what the venue has shown of the order. ``read_until`` None: it may have more, from as
        early as before.
        """
        read = self._find(order.order_hash)
        news = {
            trade.trade_id: trade
            for trade in shown
            if trade.order_hash == order.order_hash
            and is_update(read.trades.get(trade.trade_id), trade)
        }
        self._reads.put(
            order.order_hash,
            OrderRead(read_until=read_until or read.read_until, trades=read.trades | news),
        )

    def _read_from(self, order: Order) -> datetime:
        start, read = order.signed_at - LOOKBACK, self._find(order.order_hash)
        if read.read_until is None or not read.covers(order):
            return start
        return max(start, read.read_until - SHOWN_WITHIN)

    def _find(self, order_hash: str) -> OrderRead:
        return self._reads.get(order_hash) or OrderRead()
