"""The simulated market makers: they quote every market, move their quotes with the price, and renew
those that takers have taken.

They trade like everybody else, by signed orders through the same engine, but only by post-only
orders: they never take.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.book import RestingOrder
from services.paper_venue.exchange.orders import Market
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.market_plans import MarketPlan
from services.paper_venue.world.quoting import (
    LevelKey,
    PriceDrift,
    Quote,
    build_ladder,
    move_mid,
    price_pressure,
)
from services.paper_venue.world.trader_wallets import NoTrade, TraderWallet, place_resting_order

_MAX_RENEWED = 2
"""Quotes of one market that one update renews: a book that was emptied recovers level by level."""


@dataclass(slots=True)
class _QuotedMarket:
    """A market with its current mid, and the market makers' resting orders by level."""

    plan: MarketPlan
    market: Market
    mid: int
    order_ids: dict[LevelKey, str] = field(default_factory=dict)


class MarketMakers:
    """Quotes every market. Each call does what is due by its time; the same calls give the same
    orders.
    """

    def __init__(
        self,
        venue: Venue,
        makers: Sequence[TraderWallet],
        markets: Sequence[tuple[MarketPlan, Market]],
        *,
        shares: int,
        drift: PriceDrift,
    ) -> None:
        self._venue = venue
        self._makers = makers
        self._shares = shares
        self._drift = drift
        self._quoted_markets = [_QuotedMarket(plan, market, plan.mid) for plan, market in markets]

    def open(self, *, now_ms: int) -> None:
        """Place all quotes of every market."""
        for quoted in self._quoted_markets:
            self._update_quotes(quoted, now_ms=now_ms, max_orders=2 * quoted.plan.levels)

    def update(self, *, now_ms: int) -> None:
        """Make the price moves that are due, move the price away from best quotes that were taken,
        and renew a few quotes of each market.
        """
        for index, ticks in self._drift.due_moves(now_ms):
            self._move(self._quoted_markets[index], ticks, now_ms=now_ms)
        for quoted in filter(self._is_open, self._quoted_markets):
            self._move(quoted, self._pressure(quoted), now_ms=now_ms)
            self._update_quotes(quoted, now_ms=now_ms, max_orders=_MAX_RENEWED)

    def _move(self, quoted: _QuotedMarket, ticks: int, *, now_ms: int) -> None:
        mid = move_mid(quoted.plan, quoted.mid, ticks)
        if mid != quoted.mid and self._is_open(quoted):
            quoted.mid = mid
            self._update_quotes(quoted, now_ms=now_ms, max_orders=2 * quoted.plan.levels)

    def _is_open(self, quoted: _QuotedMarket) -> bool:
        return self._venue.engine.resolution(quoted.market.condition_id) is None

    def _pressure(self, quoted: _QuotedMarket) -> int:
        """By how many ticks takers push the price: -1, 0 or 1.

        Judged by best quotes that were placed: one that is not placed yet was not taken.
        """
        plan = quoted.plan
        best = {
            is_bid: LevelKey(
                is_bid=is_bid, yes_price=quoted.mid + (-plan.tick if is_bid else plan.tick)
            )
            for is_bid in (True, False)
        }
        target = self._shares * plan.depth_percent // 100
        return price_pressure(
            {
                is_bid: self._remaining(quoted, level)
                for is_bid, level in best.items()
                if level in quoted.order_ids
            },
            target,
        )

    def _remaining(self, quoted: _QuotedMarket, level: LevelKey) -> int:
        resting = self._resting(quoted, level)
        return 0 if resting is None else resting.remaining

    def _resting(self, quoted: _QuotedMarket, level: LevelKey) -> RestingOrder | None:
        return self._venue.engine.resting.get(quoted.order_ids.get(level, ""))

    def _update_quotes(self, quoted: _QuotedMarket, *, now_ms: int, max_orders: int) -> None:
        """Cancel before placing, so that no market maker ever crosses his own quotes."""
        if self._venue.engine.resolution(quoted.market.condition_id) is not None:
            return
        quotes = build_ladder(quoted.plan, quoted.mid, shares=self._shares)
        for level in [level for level in quoted.order_ids if level not in quotes]:
            self._cancel(quoted, level, now_ms=now_ms)
        too_small = [
            level
            for level, quote in quotes.items()
            if self._remaining(quoted, level) * 2 < quote.shares
        ]
        for level in too_small[:max_orders]:
            self._cancel(quoted, level, now_ms=now_ms)
            self._place(quoted, level, quotes[level], now_ms=now_ms)

    def _cancel(self, quoted: _QuotedMarket, level: LevelKey, *, now_ms: int) -> None:
        resting = self._resting(quoted, level)
        quoted.order_ids.pop(level, None)
        if resting is not None:
            self._venue.on_cancel(resting.order.id, owner=resting.order.owner, now_ms=now_ms)

    def _place(self, quoted: _QuotedMarket, level: LevelKey, quote: Quote, *, now_ms: int) -> None:
        """Place one quote. A level that another order crosses stays empty until that is gone."""
        token = quoted.market.token_ids[quote.outcome]
        try:
            quoted.order_ids[level] = place_resting_order(
                self._venue,
                self._makers[quote.maker],
                token_id=token,
                side=quote.side,
                price=quote.price,
                shares=quote.shares,
                now_ms=now_ms,
            )
        except NoTrade as refused:
            if str(refused) != rules.POST_ONLY_CROSSES:
                raise RuntimeError(f"a market maker's quote was refused: {refused}") from refused
