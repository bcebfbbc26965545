"""What is told of an order's and a trade's life, to whom, and in which order?"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from services.paper_venue import frames
from services.paper_venue.book import LevelChange, Resting
from services.paper_venue.engine import Accepted, Engine
from services.paper_venue.orders import DUST, PRICE_ONE, Market, Order, Side
from services.paper_venue.trades import Trade, TradeLog, TradeStatus
from services.paper_venue.wire import price_text


class Feeds(Protocol):
    """Who listens at the sockets."""

    def watches(self, token_ids: Iterable[str]) -> bool:
        """Whether anybody is subscribed to one of these tokens: books are not written for nobody."""
        ...

    def tell_market(self, market: Market, events: Sequence[Mapping[str, Any]]) -> None: ...

    def tell_user(self, owner: str, condition_id: str, event: Mapping[str, Any]) -> None: ...

    def tell_activity(self, rows: Sequence[Mapping[str, Any]]) -> None: ...


class Announcer:
    """Tells everybody, and keeps what the public was told last."""

    def __init__(self, engine: Engine, feeds: Feeds) -> None:
        self.trades = TradeLog()
        self._engine = engine
        self._feeds = feeds
        self._last_price: dict[str, tuple[str, str]] = {}

    def last_trade(self, token_id: str) -> tuple[str, str]:
        """(price, side) of the token's last print; empty side: it has not traded."""
        return self._last_price.get(token_id, ("0.5", ""))

    def book_summary(self, token_id: str, *, now_ms: int) -> frames.Json:
        market = self._engine.market_by_token[token_id]
        book = self._engine.books[market.condition_id]
        last_price, _ = self.last_trade(token_id)
        return frames.book_summary(market, market.outcome_index(token_id), book, last_price=last_price, now_ms=now_ms)

    def tell_cancelled(self, resting: Resting, change: LevelChange, *, now_ms: int) -> None:
        self._tell_order(resting, kind="CANCELLATION", status="CANCELED", now_ms=now_ms)
        self._tell_levels(resting.order.market, [change], now_ms=now_ms)

    def tell_killed(self, order: Order, reason: str, *, now_ms: int) -> None:
        event = frames.killed_event(order, reason=reason, now_ms=now_ms)
        self._feeds.tell_user(order.owner, order.market.condition_id, event)

    def tell_accepted(self, accepted: Accepted, trade: Trade | None, *, now_ms: int) -> None:
        order, matched = accepted.order, accepted.match.shares
        if order.kind.may_rest:
            placed = Resting(order=order, remaining=order.shares)
            self._tell_order(placed, kind="PLACEMENT", status="LIVE", now_ms=now_ms)
        if trade is None:
            self._tell_levels(order.market, accepted.changes, now_ms=now_ms)
            return
        self._tell_print(trade, now_ms=now_ms)
        updated = Resting(order=order, remaining=order.shares - matched)
        self._tell_order(updated, kind="UPDATE", status="LIVE" if accepted.rests else "MATCHED", now_ms=now_ms)
        if accepted.drops_remainder:
            self._tell_order(updated, kind="CANCELLATION", status="CANCELED", now_ms=now_ms)
        for fill in trade.match.fills:
            gone = fill.resting.remaining <= DUST
            self._tell_order(fill.resting, kind="UPDATE", status="MATCHED" if gone else "LIVE", now_ms=now_ms)
        self.tell_trade(trade, TradeStatus.MATCHED, now_ms=now_ms)

    def _tell_print(self, trade: Trade, *, now_ms: int) -> None:
        """What the public hears of a match: the activity rows, the prints, and then both books anew."""
        self._feeds.tell_activity(frames.activity_rows(trade))
        taker, last = trade.match.taker, trade.match.fills[-1]
        mirrored = taker.market.token_ids[1 - taker.outcome_index]
        opposite = Side(1 - taker.side)
        self._last_price[taker.token_id] = price_text(last.price), taker.side.name
        self._last_price[mirrored] = price_text(PRICE_ONE - last.price), opposite.name
        if self._feeds.watches(taker.market.token_ids):
            books = [frames.book_event(self.book_summary(token, now_ms=now_ms)) for token in taker.market.token_ids]
            self._feeds.tell_market(taker.market, [*frames.last_trade_events(trade), *books])

    def _tell_levels(self, market: Market, changes: Sequence[LevelChange], *, now_ms: int) -> None:
        if changes and self._feeds.watches(market.token_ids):
            book = self._engine.books[market.condition_id]
            self._feeds.tell_market(market, [frames.price_change_event(market, changes, book, now_ms=now_ms)])

    def _tell_order(self, resting: Resting, *, kind: str, status: str, now_ms: int) -> None:
        order = resting.order
        trades = self.trades.ids_of(order.id) if kind != "PLACEMENT" else ()
        event = frames.order_event(order, kind=kind, status=status, matched=resting.matched, trade_ids=trades, now_ms=now_ms)
        self._feeds.tell_user(order.owner, order.market.condition_id, event)

    def tell_trade(self, trade: Trade, status: TradeStatus, *, now_ms: int) -> None:
        trade.status, trade.updated_at_ms = status, now_ms
        for owner in trade.owners:
            self._feeds.tell_user(owner, trade.match.taker.market.condition_id, frames.trade_event(trade, owner=owner, now_ms=now_ms))
