"""Publishes the events of orders, trades and markets to the channels, in the venue's order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from services.paper_venue.exchange.book import LevelChange, RestingOrder
from services.paper_venue.exchange.formatting import price_text
from services.paper_venue.exchange.matching_engine import Accepted, MatchingEngine
from services.paper_venue.exchange.orders import PRICE_ONE, Market, Order, Side
from services.paper_venue.exchange.trades import Trade, TradeLog, TradeStatus
from services.paper_venue.faults.catalogue import Fault, Faults
from services.paper_venue.http import payloads, socket_events

CANCELED_NOT_ENOUGH_BALANCE = "CANCELED_NOT_ENOUGH_BALANCE"
CANCELED_MARKET_RESOLVED = "CANCELED_MARKET_RESOLVED"


class Channels(Protocol):
    """Where events are published: the market, user and activity sockets."""

    def has_subscribers(self, token_ids: Iterable[str]) -> bool:
        """Whether a client is subscribed to one of these tokens; else no book need be built."""
        ...

    def publish_market(self, market: Market, events: Sequence[Mapping[str, Any]]) -> None:
        """Publish events of the market channel. ``best_bid_ask`` and ``market_resolved`` go only to
        clients that enabled custom features.
        """
        ...

    def publish_user(self, owner: str, condition_id: str, event: Mapping[str, Any]) -> None:
        """Publish an event of the user channel to one API key."""
        ...

    def publish_activity(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Publish the RTDS rows of one trade, the taker's first."""
        ...


class EventPublisher:
    """Publishes events, and keeps the trade log and what was published last of each market."""

    def __init__(self, engine: MatchingEngine, channels: Channels, faults: Faults) -> None:
        self.trades = TradeLog()
        self._engine = engine
        self._channels = channels
        self._faults = faults
        self._published_best: dict[str, tuple[int | None, int | None]] = {}
        self._last_price: dict[str, tuple[str, str]] = {}

    def last_trade(self, token_id: str) -> tuple[str, str]:
        """(price, side) of the token's last trade; an empty side: it has not traded."""
        return self._last_price.get(token_id, ("0.5", ""))

    def book_summary(self, token_id: str, *, now_ms: int) -> payloads.Json:
        market = self._engine.market_by_token[token_id]
        book = self._engine.books[market.condition_id]
        last_price, _ = self.last_trade(token_id)
        return payloads.book_summary(
            market, market.outcome_index(token_id), book, last_price=last_price, now_ms=now_ms
        )

    def publish_cancelled(
        self, resting: RestingOrder, change: LevelChange, *, status: str = "CANCELED", now_ms: int
    ) -> None:
        self.publish_order(resting, kind="CANCELLATION", status=status, now_ms=now_ms)
        self._publish_levels(resting.order.market, [change], now_ms=now_ms)

    def publish_killed(self, order: Order, reason: str, *, now_ms: int) -> None:
        event = socket_events.killed_event(order, reason=reason, now_ms=now_ms)
        self._channels.publish_user(order.owner, order.market.condition_id, event)

    def publish_accepted(
        self,
        accepted: Accepted,
        trade: Trade | None,
        *,
        was_held: bool = False,
        killed_by: str | None = None,
        now_ms: int,
    ) -> None:
        """``was_held``: its placement is published already. ``killed_by``: published to its owner
        instead of what it matched.
        """
        order = accepted.order
        if order.kind.may_rest and not was_held:
            placed = RestingOrder(order=order, remaining=order.shares)
            self.publish_order(placed, kind="PLACEMENT", status="LIVE", now_ms=now_ms)
        for own_order in accepted.match.own_orders:
            self.publish_order(own_order, kind="CANCELLATION", status="CANCELED", now_ms=now_ms)
        if trade is None:
            self._publish_levels(order.market, accepted.level_changes, now_ms=now_ms)
        else:
            self._publish_print(trade, now_ms=now_ms)
        if killed_by is not None:
            self.publish_killed(order, killed_by, now_ms=now_ms)
        elif trade is not None or was_held:
            self._publish_taker(accepted, now_ms=now_ms)
        if trade is not None:
            self._publish_makers(trade, now_ms=now_ms)

    def _publish_taker(self, accepted: Accepted, *, now_ms: int) -> None:
        matched = accepted.match.shares
        updated = RestingOrder(order=accepted.order, remaining=accepted.order.shares - matched)
        status = "UNMATCHED" if not matched else "LIVE" if accepted.rests else "MATCHED"
        self.publish_order(updated, kind="UPDATE", status=status, now_ms=now_ms)
        if accepted.drops_remainder:
            self.publish_order(updated, kind="CANCELLATION", status="CANCELED", now_ms=now_ms)

    def _publish_makers(self, trade: Trade, *, now_ms: int) -> None:
        for fill in trade.match.fills:
            self.publish_order(
                fill.resting,
                kind="UPDATE",
                status="MATCHED" if fill.resting.is_filled else "LIVE",
                now_ms=now_ms,
            )
        self.publish_trade(trade, TradeStatus.MATCHED, now_ms=now_ms)

    def publish_tick_size(self, condition_id: str, *, old_tick: int, now_ms: int) -> None:
        """The new tick of both tokens, then their books, as clients discard theirs."""
        market = self._engine.market_by_condition[condition_id]
        changes = [
            socket_events.tick_size_event(market, token, old_tick=old_tick, now_ms=now_ms)
            for token in market.token_ids
        ]
        self._channels.publish_market(market, [*changes, *self._book_events(market, now_ms=now_ms)])

    def publish_resolved(self, market: Market, payouts: tuple[int, int], *, now_ms: int) -> None:
        self._channels.publish_market(
            market, [socket_events.market_resolved_event(market, payouts, now_ms=now_ms)]
        )

    def _publish_print(self, trade: Trade, *, now_ms: int) -> None:
        """The public events of a match: activity rows, last trade prices, then both books."""
        self._channels.publish_activity(socket_events.activity_rows(trade))
        taker, last = trade.match.taker, trade.match.fills[-1]
        mirrored = taker.market.token_ids[1 - taker.outcome_index]
        opposite = Side(1 - taker.side)
        self._last_price[taker.token_id] = price_text(last.price), taker.side.name
        self._last_price[mirrored] = price_text(PRICE_ONE - last.price), opposite.name
        if self._channels.has_subscribers(taker.market.token_ids):
            books = self._book_events(taker.market, now_ms=now_ms)
            self._channels.publish_market(
                taker.market,
                [
                    *socket_events.last_trade_events(trade),
                    *books,
                    *self._best_price_events(taker.market, now_ms=now_ms),
                ],
            )

    def _publish_levels(
        self, market: Market, changes: Sequence[LevelChange], *, now_ms: int
    ) -> None:
        if changes and self._channels.has_subscribers(market.token_ids):
            book = self._engine.books[market.condition_id]
            levels = socket_events.price_change_event(market, changes, book, now_ms=now_ms)
            self._channels.publish_market(
                market, [levels, *self._best_price_events(market, now_ms=now_ms)]
            )

    def _book_events(self, market: Market, *, now_ms: int) -> list[payloads.Json]:
        return [
            socket_events.book_event(self.book_summary(token, now_ms=now_ms))
            for token in market.token_ids
        ]

    def _best_price_events(self, market: Market, *, now_ms: int) -> list[payloads.Json]:
        """The best prices, if they differ from those published last."""
        book = self._engine.books[market.condition_id]
        top = book.best_bid(0), book.best_ask(0)
        if self._published_best.get(market.condition_id) == top:
            return []
        self._published_best[market.condition_id] = top
        return [
            socket_events.best_bid_ask_event(market, outcome, book, now_ms=now_ms)
            for outcome in (0, 1)
        ]

    def publish_order(self, resting: RestingOrder, *, kind: str, status: str, now_ms: int) -> None:
        order = resting.order
        trades = self.trades.ids_for_order(order.id) if kind != "PLACEMENT" else ()
        event = socket_events.order_event(
            order,
            kind=kind,
            status=status,
            matched=resting.matched,
            trade_ids=trades,
            now_ms=now_ms,
        )
        if self._faults.trigger(Fault.EMPTY_SIZE_MATCHED, wallet=order.maker):
            event |= {"size_matched": "", "created_at": ""}
        self._channels.publish_user(order.owner, order.market.condition_id, event)

    def publish_trade(self, trade: Trade, status: TradeStatus, *, now_ms: int) -> None:
        trade.set_status(status, now_ms=now_ms)
        for owner in trade.owners:
            self._channels.publish_user(
                owner,
                trade.match.taker.market.condition_id,
                socket_events.trade_event(trade, owner=owner, now_ms=now_ms),
            )
