"""What do the venue's market makers do: how do their quotes follow the price, give way to takers,
and come back?

They trade like everybody, by signed orders through the same engine; but only post-only ones, so
they never take.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.paper_venue.exchange import rules
from services.paper_venue.exchange.book import RestingOrder
from services.paper_venue.exchange.orders import Market
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.generator import MarketPlan
from services.paper_venue.world.quoting import Drift, Place, Quote, ladder, nudged, pressure
from services.paper_venue.world.trader_wallets import HouseTrader, NoTrade, rest

_MOST_RENEWED = 2
"""Quotes of one market that come back at a time: a book that was swept recovers level by level."""


@dataclass(slots=True)
class _Stall:
    """The market makers in one market: where its mid is, and which order stands where."""

    plan: MarketPlan
    market: Market
    mid: int
    standing: dict[Place, str] = field(default_factory=dict)


class MarketMakers:
    """Quote every market; each call does what is due by then, and the same calls give the same
    orders.
    """

    def __init__(
        self,
        venue: Venue,
        makers: Sequence[HouseTrader],
        markets: Sequence[tuple[MarketPlan, Market]],
        *,
        shares: int,
        drift: Drift,
    ) -> None:
        self._venue = venue
        self._makers = makers
        self._shares = shares
        self._drift = drift
        self._stalls = [_Stall(plan, market, plan.mid) for plan, market in markets]

    def open(self, *, now_ms: int) -> None:
        """Fill every book."""
        for stall in self._stalls:
            self._quote(stall, now_ms=now_ms, most=2 * stall.plan.levels)

    def act(self, *, now_ms: int) -> None:
        """Move the prices that are due, give way where a best quote was eaten, and renew a few
        quotes of each market.
        """
        for index, ticks in self._drift.moves(now_ms):
            self._move(self._stalls[index], ticks, now_ms=now_ms)
        for stall in filter(self._is_open, self._stalls):
            self._move(stall, self._pressure(stall), now_ms=now_ms)
            self._quote(stall, now_ms=now_ms, most=_MOST_RENEWED)

    def _move(self, stall: _Stall, ticks: int, *, now_ms: int) -> None:
        mid = nudged(stall.plan, stall.mid, ticks)
        if mid != stall.mid and self._is_open(stall):
            stall.mid = mid
            self._quote(stall, now_ms=now_ms, most=2 * stall.plan.levels)

    def _is_open(self, stall: _Stall) -> bool:
        return self._venue.engine.resolution(stall.market.condition_id) is None

    def _pressure(self, stall: _Stall) -> int:
        """Of quotes that stood there: one that is not placed yet was not eaten."""
        plan = stall.plan
        best = {
            is_bid: Place(
                is_bid=is_bid, yes_price=stall.mid + (-plan.tick if is_bid else plan.tick)
            )
            for is_bid in (True, False)
        }
        wanted = self._shares * plan.depth_percent // 100
        return pressure(
            {
                is_bid: self._left(stall, place)
                for is_bid, place in best.items()
                if place in stall.standing
            },
            wanted,
        )

    def _left(self, stall: _Stall, place: Place) -> int:
        resting = self._resting(stall, place)
        return 0 if resting is None else resting.remaining

    def _resting(self, stall: _Stall, place: Place) -> RestingOrder | None:
        return self._venue.engine.resting.get(stall.standing.get(place, ""))

    def _quote(self, stall: _Stall, *, now_ms: int, most: int) -> None:
        """First cancel, then place: so no maker ever meets his own quotes."""
        if self._venue.engine.resolution(stall.market.condition_id) is not None:
            return
        wanted = ladder(stall.plan, stall.mid, shares=self._shares)
        for place in [place for place in stall.standing if place not in wanted]:
            self._cancel(stall, place, now_ms=now_ms)
        short = [
            place for place, quote in wanted.items() if self._left(stall, place) * 2 < quote.shares
        ]
        for place in short[:most]:
            self._cancel(stall, place, now_ms=now_ms)
            self._place(stall, place, wanted[place], now_ms=now_ms)

    def _cancel(self, stall: _Stall, place: Place, *, now_ms: int) -> None:
        resting = self._resting(stall, place)
        stall.standing.pop(place, None)
        if resting is not None:
            self._venue.on_cancel(resting.order.id, owner=resting.order.owner, now_ms=now_ms)

    def _place(self, stall: _Stall, place: Place, quote: Quote, *, now_ms: int) -> None:
        """Where somebody else's order is in the way, the place stays empty until that is gone."""
        token = stall.market.token_ids[quote.outcome]
        try:
            stall.standing[place] = rest(
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
