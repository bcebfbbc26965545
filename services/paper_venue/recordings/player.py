"""Plays a recording on the local venue: sets the books to the recorded ones, and repeats each
recorded trade with local wallets.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal

from services.paper_venue.exchange.matching import Match
from services.paper_venue.exchange.orders import PRICE_ONE, Market, OrderKind, Side
from services.paper_venue.http.payloads import Json
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.recordings.book_restorer import BookRestorer, PlayedMarket
from services.paper_venue.recordings.timeline import (
    BookSet,
    LevelsSet,
    RecordedFill,
    RecordedTrade,
    Step,
    Timeline,
)
from services.paper_venue.world.trader_wallets import (
    NoTrade,
    TraderWallet,
    place_order,
    place_resting_order,
)

_CENT = 10_000
_FOUR_DECIMALS = 100
_MS = Decimal(1000)


class RecordingPlayer:
    """Plays all steps once, at ``speed`` times the recorded pace (0: without waiting), and counts
    how exactly each trade was repeated.
    """

    def __init__(
        self,
        venue: Venue,
        books: BookRestorer,
        timeline: Timeline,
        trader_by_wallet: Mapping[str, TraderWallet],
        *,
        speed: Decimal,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``trader_by_wallet``: the local trader that replaces each recorded wallet."""
        self._venue = venue
        self._books = books
        self._timeline = timeline
        self._trader_by_wallet = trader_by_wallet
        self._speed = speed
        self._now_ms = now_ms
        self._sleep = sleep
        self._counts: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self.done = False

    def report(self) -> Json:
        """Which local token and wallet replaces which recorded one, and how the recorded trades
        were repeated: each counts once, as exact, approximate or not re-enacted.
        """
        tokens = {
            token: self._books.played_markets[market.condition_id].market.token_ids[outcome]
            for market in self._timeline.markets
            for outcome, token in market.tokens.items()
        }
        return {
            "done": self.done,
            "tokens": tokens,
            "wallets": {
                recorded: trader.address for recorded, trader in self._trader_by_wallet.items()
            },
            "trades": {"recorded": len(self._timeline.trades)}
            | {name: self._counts[name] for name in ("exact", "approximate", "not_reenacted")},
            "why_not": dict(self._refusals),
            "levels_refused": dict(self._books.refusals),
        }

    async def run(self) -> None:
        """Play all steps. Nothing in a recording raises: what cannot be repeated is counted."""
        previous_at = self._timeline.steps[0].at if self._timeline.steps else 0
        for step in self._timeline.steps:
            wait_s = (
                Decimal(max(step.at - previous_at, 0)) / _MS / self._speed
                if self._speed
                else Decimal(0)
            )
            previous_at = max(step.at, previous_at)
            await self._sleep(float(wait_s))
            self.play_step(step)
        self.done = True

    def play_step(self, step: Step) -> None:
        now_ms = self._now_ms()
        if isinstance(step, BookSet):
            self._books.set_book(step.condition_id, step.levels, now_ms=now_ms)
        elif isinstance(step, LevelsSet):
            self._books.set_levels(step.condition_id, step.levels, now_ms=now_ms)
        else:
            self._play_trade(step, now_ms=now_ms)

    def _play_trade(self, trade: RecordedTrade, *, now_ms: int) -> None:
        played = self._books.played_markets[trade.condition_id]
        maker_fills = _build_maker_fills(trade, played.market)
        resting: list[tuple[str, TraderWallet]] = []
        try:
            self._cancel_quotes_in_the_way(played, maker_fills, now_ms=now_ms)
            for fill in maker_fills:
                resting.append(
                    self._place_maker_order(played.market, trade.taker, fill, now_ms=now_ms)
                )
            match = self._place_taker_order(played.market, trade.taker, maker_fills, now_ms=now_ms)
        except NoTrade as refused:
            self._counts["not_reenacted"] += 1
            self._refusals[str(refused)] += 1
        else:
            self._counts["exact" if _is_exact(match, trade) else "approximate"] += 1
        finally:
            for order_id, trader in resting:
                if order_id in self._venue.engine.resting:
                    self._venue.on_cancel(order_id, owner=trader.api_key, now_ms=now_ms)
            self._books.restore(trade.condition_id, now_ms=now_ms)

    def _cancel_quotes_in_the_way(
        self, played: PlayedMarket, maker_fills: Sequence[RecordedFill], *, now_ms: int
    ) -> None:
        """Cancel the market makers' quotes that would trade before the recorded makers' orders, or
        that those would cross.
        """
        prices = [
            fill.price if fill.outcome == 0 else PRICE_ONE - fill.price for fill in maker_fills
        ]
        lowest, highest = min(prices), max(prices)
        for level in list(played.order_ids):
            if level.yes_price >= lowest if level.is_bid else level.yes_price <= highest:
                self._books.cancel_level(played, level, now_ms=now_ms)

    def _place_maker_order(
        self, market: Market, taker: RecordedFill, fill: RecordedFill, *, now_ms: int
    ) -> tuple[str, TraderWallet]:
        """Place one recorded maker's order; a fill without a recorded wallet becomes a market
        maker's. Returns the order's id and its owner. Raises: NoTrade.
        """
        trader = self._trader_by_wallet.get(fill.wallet, self._books.opposite_maker(taker.side))
        shares = max(-(-fill.shares // _CENT) * _CENT, market.min_shares)
        token = market.token_ids[fill.outcome]
        return place_resting_order(
            self._venue,
            trader,
            token_id=token,
            side=fill.side,
            price=fill.price,
            shares=shares,
            now_ms=now_ms,
        ), trader

    def _place_taker_order(
        self,
        market: Market,
        taker: RecordedFill,
        maker_fills: Sequence[RecordedFill],
        *,
        now_ms: int,
    ) -> Match:
        """Take the makers' orders by a FAK order of the recorded taker. Raises: NoTrade."""
        prices = [
            fill.price if fill.outcome == taker.outcome else PRICE_ONE - fill.price
            for fill in maker_fills
        ]
        limit = max(prices) if taker.side is Side.BUY else min(prices)
        if taker.side is Side.BUY:
            cost = (
                sum(fill.shares * price for fill, price in zip(maker_fills, prices, strict=True))
                // PRICE_ONE
            )
            maker_amount = (cost + _CENT // 2) // _CENT * _CENT
            taker_amount = maker_amount * PRICE_ONE // limit // _FOUR_DECIMALS * _FOUR_DECIMALS
        else:
            maker_amount = taker.shares // _CENT * _CENT
            taker_amount = maker_amount * limit // PRICE_ONE
        ticket = self._trader_by_wallet[taker.wallet].build_ticket(
            market,
            token_id=market.token_ids[taker.outcome],
            side=taker.side,
            kind=OrderKind.FAK,
            maker_amount=maker_amount,
            taker_amount=taker_amount,
            now_ms=now_ms,
        )
        return place_order(self._venue, ticket, now_ms=now_ms)[0].match


def _build_maker_fills(trade: RecordedTrade, market: Market) -> list[RecordedFill]:
    """The recorded makers' fills, with prices rounded to the tick.

    Where they are less than the taker's size, the rest is a fill without a wallet, at the worst of
    their prices (or at the taker's own): a market maker supplies it.
    """
    taker = trade.taker
    fills = [
        RecordedFill(
            wallet=fill.wallet,
            outcome=fill.outcome,
            side=fill.side,
            price=_round_to_tick(fill.price, market),
            shares=fill.shares,
        )
        for fill in trade.makers
    ]
    missing = taker.shares - sum(fill.shares for fill in fills)
    if missing >= _CENT:
        prices = [
            fill.price if fill.outcome == taker.outcome else PRICE_ONE - fill.price
            for fill in fills
        ] or [taker.price]
        price = _round_to_tick(max(prices) if taker.side is Side.BUY else min(prices), market)
        fills.append(
            RecordedFill(
                wallet="",
                outcome=taker.outcome,
                side=Side(1 - taker.side),
                price=price,
                shares=missing,
            )
        )
    return fills


def _round_to_tick(price: int, market: Market) -> int:
    return min(
        max((price + market.tick // 2) // market.tick * market.tick, market.tick),
        PRICE_ONE - market.tick,
    )


def _is_exact(match: Match, trade: RecordedTrade) -> bool:
    """Whether the size is equal to a hundredth of a share, and the price to 1/10,000 USDC."""
    taker = trade.taker
    if not match.fills or abs(match.shares - taker.shares) > _CENT:
        return False
    paid = (2 * match.collateral * PRICE_ONE + match.shares) // (2 * match.shares)
    return abs(paid - taker.price) <= 1
