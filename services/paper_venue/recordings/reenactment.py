"""How is a recording played: books set to the recorded ones, and each recorded trade made again by
wallets that stand for the recorded?
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from services.paper_venue.exchange.matching import Match
from services.paper_venue.exchange.orders import PRICE_ONE, Market, OrderKind, Side
from services.paper_venue.http.payloads import Json
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.recordings.playback import (
    BookSet,
    LevelsSet,
    Part,
    Play,
    RecordedTrade,
    Step,
)
from services.paper_venue.world.quoting import Place
from services.paper_venue.world.trader_wallets import HouseTrader, NoTrade, accepted, rest

_CENT = 10_000
_FOUR_DECIMALS = 100
_MS = Decimal(1000)


@dataclass(slots=True)
class _Stage:
    """A local market that stands for a recorded one: how its book should be, and which of our
    orders stand where.
    """

    market: Market
    wanted: dict[Place, int] = field(default_factory=dict)
    standing: dict[Place, str] = field(default_factory=dict)


class BookKeeper:
    """Sets the local books to the recorded ones. One maker has the bids and one the asks, so
    neither can meet himself.
    """

    def __init__(
        self, venue: Venue, makers: Sequence[HouseTrader], markets: Mapping[str, Market]
    ) -> None:
        """``markets`` by recorded condition id."""
        self.stages = {condition: _Stage(market) for condition, market in markets.items()}
        self.refusals: Counter[str] = Counter()
        self._venue = venue
        self._bidder, self._asker = makers

    def set_all(self, condition_id: str, levels: Mapping[Place, int], *, now_ms: int) -> None:
        self.stages[condition_id].wanted = dict(levels)
        self.restore(condition_id, now_ms=now_ms)

    def set_some(self, condition_id: str, levels: Mapping[Place, int], *, now_ms: int) -> None:
        self.stages[condition_id].wanted |= levels
        self.restore(condition_id, now_ms=now_ms)

    def restore(self, condition_id: str, *, now_ms: int) -> None:
        """First cancel what is not wanted, then place what is missing."""
        stage = self.stages[condition_id]
        wanted = {
            place: shares
            for place, each in stage.wanted.items()
            if (shares := _restable(stage.market, place, each))
        }
        for place in [
            place for place in stage.standing if self._left(stage, place) != wanted.get(place)
        ]:
            self.clear(stage, place, now_ms=now_ms)
        for place, shares in wanted.items():
            if place not in stage.standing:
                self._place(stage, place, shares, now_ms=now_ms)

    def clear(self, stage: _Stage, place: Place, *, now_ms: int) -> None:
        order_id = stage.standing.pop(place)
        resting = self._venue.engine.resting.get(order_id)
        if resting is not None:
            self._venue.on_cancel(order_id, owner=resting.order.owner, now_ms=now_ms)

    def supplier(self, side: Side) -> HouseTrader:
        """Who stands opposite to a taker of this side."""
        return self._asker if side is Side.BUY else self._bidder

    def _left(self, stage: _Stage, place: Place) -> int | None:
        resting = self._venue.engine.resting.get(stage.standing[place])
        return None if resting is None else resting.remaining

    def _place(self, stage: _Stage, place: Place, shares: int, *, now_ms: int) -> None:
        trader, side = (self._bidder, Side.BUY) if place.is_bid else (self._asker, Side.SELL)
        token = stage.market.token_ids[0]
        try:
            order_id = rest(
                self._venue,
                trader,
                token_id=token,
                side=side,
                price=place.yes_price,
                shares=shares,
                now_ms=now_ms,
            )
        except NoTrade as refused:
            self.refusals[str(refused)] += 1
        else:
            stage.standing[place] = order_id


def _restable(market: Market, place: Place, shares: int) -> int:
    """What of a recorded level may stand here: whole hundredths of a share, at least the smallest
    order, on the grid; else 0.
    """
    on_grid = (
        place.yes_price % market.tick == 0
        and market.tick <= place.yes_price <= PRICE_ONE - market.tick
    )
    whole = shares // _CENT * _CENT
    return whole if on_grid and whole >= market.min_shares else 0


class Reenactment:
    """Plays all steps once, at ``speed`` times the recorded pace (0: without waiting), and counts
    what became of each trade.
    """

    def __init__(
        self,
        venue: Venue,
        keeper: BookKeeper,
        play: Play,
        stand_ins: Mapping[str, HouseTrader],
        *,
        speed: Decimal,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``stand_ins`` by recorded wallet."""
        self._venue = venue
        self._keeper = keeper
        self._play = play
        self._stand_ins = stand_ins
        self._speed = speed
        self._now_ms = now_ms
        self._sleep = sleep
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self.done = False

    def report(self) -> Json:
        """What stands for what, and what became of the recorded trades: every one is exact,
        approximate or not re-enacted.
        """
        tokens = {
            token: self._keeper.stages[market.condition_id].market.token_ids[outcome]
            for market in self._play.markets
            for outcome, token in market.tokens.items()
        }
        return {
            "done": self.done,
            "tokens": tokens,
            "wallets": {recorded: trader.address for recorded, trader in self._stand_ins.items()},
            "trades": {"recorded": len(self._play.trades)}
            | {name: self._counts[name] for name in ("exact", "approximate", "not_reenacted")},
            "why_not": dict(self._reasons),
            "levels_refused": dict(self._keeper.refusals),
        }

    async def run(self) -> None:
        """Raises nothing that a recording can cause: what cannot be made again is counted."""
        before = self._play.steps[0].at if self._play.steps else 0
        for step in self._play.steps:
            waited = (
                Decimal(max(step.at - before, 0)) / _MS / self._speed if self._speed else Decimal(0)
            )
            before = max(step.at, before)
            await self._sleep(float(waited))
            self.act(step)
        self.done = True

    def act(self, step: Step) -> None:
        now_ms = self._now_ms()
        if isinstance(step, BookSet):
            self._keeper.set_all(step.condition_id, step.levels, now_ms=now_ms)
        elif isinstance(step, LevelsSet):
            self._keeper.set_some(step.condition_id, step.levels, now_ms=now_ms)
        else:
            self._trade(step, now_ms=now_ms)

    def _trade(self, trade: RecordedTrade, *, now_ms: int) -> None:
        stage = self._keeper.stages[trade.condition_id]
        opposite = _opposite_parts(trade, stage.market)
        resting: list[tuple[str, HouseTrader]] = []
        try:
            self._make_way(stage, opposite, now_ms=now_ms)
            for part in opposite:
                resting.append(self._rest(stage.market, trade.taker, part, now_ms=now_ms))
            match = self._take(stage.market, trade.taker, opposite, now_ms=now_ms)
        except NoTrade as refused:
            self._counts["not_reenacted"] += 1
            self._reasons[str(refused)] += 1
        else:
            self._counts["exact" if _is_exact(match, trade) else "approximate"] += 1
        finally:
            for order_id, trader in resting:
                if order_id in self._venue.engine.resting:
                    self._venue.on_cancel(order_id, owner=trader.api_key, now_ms=now_ms)
            self._keeper.restore(trade.condition_id, now_ms=now_ms)

    def _make_way(self, stage: _Stage, opposite: Sequence[Part], *, now_ms: int) -> None:
        """Our quotes that would trade first, or that the recorded makers' orders would cross, step
        aside.
        """
        prices = [part.price if part.outcome == 0 else PRICE_ONE - part.price for part in opposite]
        lowest, highest = min(prices), max(prices)
        for place in list(stage.standing):
            if place.yes_price >= lowest if place.is_bid else place.yes_price <= highest:
                self._keeper.clear(stage, place, now_ms=now_ms)

    def _rest(
        self, market: Market, taker: Part, part: Part, *, now_ms: int
    ) -> tuple[str, HouseTrader]:
        """Raises: NoTrade."""
        trader = self._stand_ins.get(part.wallet, self._keeper.supplier(taker.side))
        shares = max(-(-part.shares // _CENT) * _CENT, market.min_shares)
        token = market.token_ids[part.outcome]
        return rest(
            self._venue,
            trader,
            token_id=token,
            side=part.side,
            price=part.price,
            shares=shares,
            now_ms=now_ms,
        ), trader

    def _take(self, market: Market, taker: Part, opposite: Sequence[Part], *, now_ms: int) -> Match:
        """Raises: NoTrade."""
        prices = [
            part.price if part.outcome == taker.outcome else PRICE_ONE - part.price
            for part in opposite
        ]
        limit = max(prices) if taker.side is Side.BUY else min(prices)
        if taker.side is Side.BUY:
            cost = (
                sum(part.shares * price for part, price in zip(opposite, prices, strict=True))
                // PRICE_ONE
            )
            given = (cost + _CENT // 2) // _CENT * _CENT
            gotten = given * PRICE_ONE // limit // _FOUR_DECIMALS * _FOUR_DECIMALS
        else:
            given = taker.shares // _CENT * _CENT
            gotten = given * limit // PRICE_ONE
        ticket = self._stand_ins[taker.wallet].ticket(
            market,
            token_id=market.token_ids[taker.outcome],
            side=taker.side,
            kind=OrderKind.FAK,
            maker_amount=given,
            taker_amount=gotten,
            now_ms=now_ms,
        )
        return accepted(self._venue, ticket, now_ms=now_ms)[0].match


def _opposite_parts(trade: RecordedTrade, market: Market) -> list[Part]:
    """The recorded makers, on the grid; what they leave of the taker's size, the house supplies at
    the worst price (or the taker's own).
    """
    taker = trade.taker
    parts = [
        Part(
            wallet=part.wallet,
            outcome=part.outcome,
            side=part.side,
            price=_on_grid(part.price, market),
            shares=part.shares,
        )
        for part in trade.makers
    ]
    missing = taker.shares - sum(part.shares for part in parts)
    if missing >= _CENT:
        own = [
            part.price if part.outcome == taker.outcome else PRICE_ONE - part.price
            for part in parts
        ] or [taker.price]
        price = _on_grid(max(own) if taker.side is Side.BUY else min(own), market)
        parts.append(
            Part(
                wallet="",
                outcome=taker.outcome,
                side=Side(1 - taker.side),
                price=price,
                shares=missing,
            )
        )
    return parts


def _on_grid(price: int, market: Market) -> int:
    return min(
        max((price + market.tick // 2) // market.tick * market.tick, market.tick),
        PRICE_ONE - market.tick,
    )


def _is_exact(match: Match, trade: RecordedTrade) -> bool:
    """Within a hundredth of a share, at the recorded price to 1/10,000 USDC."""
    taker = trade.taker
    if not match.fills or abs(match.shares - taker.shares) > _CENT:
        return False
    paid = (2 * match.collateral * PRICE_ONE + match.shares) // (2 * match.shares)
    return abs(paid - taker.price) <= 1
