"""Carries out what leaders and crowd traders decide, at the venue's own engine."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from services.paper_venue.exchange.matching_engine import Accepted
from services.paper_venue.exchange.orders import Market, Side
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.leader_strategies import (
    ActionSequence,
    CrowdStrategy,
    LeaderAction,
    Merge,
    Pace,
    Requote,
    TradeRequest,
)
from services.paper_venue.world.trader_wallets import (
    NoTrade,
    TraderWallet,
    place_market_order,
    place_resting_order,
)

__all__ = ["CrowdTraders", "Leaders", "NoTrade", "PairMerger"]

_HUNDREDTHS = 100


class PairMerger(Protocol):
    """Turns a leader's pairs of shares into USDC on the chain."""

    async def merge(self, trader: TraderWallet, market: Market, shares: int) -> None:
        """Merge ``shares`` micro-shares of both outcomes, once the chain has them.

        Raises: TransactionReverted, Transient.
        """
        ...


class _VenueMarketView:
    """The market as simulated traders know it, from the venue's books and accounts."""

    def __init__(self, venue: Venue, traders: Sequence[TraderWallet]) -> None:
        self._engine = venue.engine
        self._traders = traders

    def free_shares(self, trader_index: int) -> Mapping[str, int]:
        account = self._engine.accounts.get(self._traders[trader_index].address)
        return {
            token: shares - account.reserved_shares.get(token, 0)
            for token, shares in account.shares.items()
        }

    def best_prices(self, token_id: str) -> tuple[int | None, int | None]:
        market = self._engine.market_by_token[token_id]
        book, outcome = self._engine.books[market.condition_id], market.outcome_index(token_id)
        return book.best_bid(outcome), book.best_ask(outcome)


class Leaders:
    """The leaders: they trade by their strategies once started, or one trade on demand."""

    def __init__(
        self,
        venue: Venue,
        leaders: Sequence[TraderWallet],
        actions: ActionSequence,
        *,
        pace: Pace,
        merger: PairMerger,
        now_ms: Callable[[], int],
    ) -> None:
        self.traders = leaders
        self._venue = venue
        self._actions = actions
        self._pace = pace
        self._merger = merger
        self._now_ms = now_ms
        self._market_view = _VenueMarketView(venue, leaders)
        self._merges: dict[int, asyncio.Task[None]] = {}
        self._quote_ids: dict[int, list[str]] = {}

    def trade(self, request: TradeRequest) -> tuple[Accepted, Trade]:
        """Make one trade now. Raises: NoTrade."""
        trader, now_ms = self.traders[request.trader_index], self._now_ms()
        return place_market_order(
            self._venue,
            trader,
            token_id=request.token_id,
            side=request.side,
            amount=request.amount,
            now_ms=now_ms,
        )

    async def run(
        self,
        *,
        trades: int,
        interval_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Act until the leaders have taken part in ``trades`` more trades, or until cancelled.

        At the end running merges are awaited (unless cancelled) and all quotes cancelled. Raises
        what a merge raised.
        """
        until = self._venue.stats["leader_trades"] + trades
        try:
            while self._venue.stats["leader_trades"] < until:
                self.act_once()
                await sleep(interval_s * self._pace.next_interval() / _HUNDREDTHS)
            await asyncio.gather(*self._merges.values())
        finally:
            self._cancel_all_quotes()

    def act_once(self) -> None:
        """Carry out one action; a trade that the venue refuses is counted. Raises what a finished
        merge raised.
        """
        self._collect_finished_merges()
        action = self._actions.next_action(self._market_view, busy=self._merges.keys())
        if action is None:
            return
        try:
            self._execute(action)
        except NoTrade as error:
            self._venue.refusals[f"leader: {error}"] += 1

    def _execute(self, action: LeaderAction) -> None:
        if isinstance(action, TradeRequest):
            self.trade(action)
        elif isinstance(action, Requote):
            self._requote(action)
        else:
            self._merge(action)

    def _requote(self, action: Requote) -> None:
        self._cancel_quotes(action.trader_index)
        sides = {Side.BUY: action.bid} | ({Side.SELL: action.ask} if action.ask is not None else {})
        order_ids = self._quote_ids.setdefault(action.trader_index, [])
        trader, now_ms = self.traders[action.trader_index], self._now_ms()
        for side, price in sides.items():
            order_ids.append(
                place_resting_order(
                    self._venue,
                    trader,
                    token_id=action.token_id,
                    side=side,
                    price=price,
                    shares=action.shares,
                    now_ms=now_ms,
                )
            )

    def _cancel_quotes(self, leader: int) -> None:
        for order_id in self._quote_ids.pop(leader, ()):
            self._venue.on_cancel(
                order_id, owner=self.traders[leader].api_key, now_ms=self._now_ms()
            )

    def _cancel_all_quotes(self) -> None:
        for leader in list(self._quote_ids):
            self._cancel_quotes(leader)

    def _merge(self, action: Merge) -> None:
        merging = self._merger.merge(
            self.traders[action.trader_index], action.market, action.shares
        )
        self._merges[action.trader_index] = asyncio.ensure_future(merging)

    def _collect_finished_merges(self) -> None:
        for leader in [leader for leader, merge in self._merges.items() if merge.done()]:
            self._merges.pop(leader).result()


class CrowdTraders:
    """The crowd traders: they trade at their own pace, independently of the leaders."""

    def __init__(
        self,
        venue: Venue,
        traders: Sequence[TraderWallet],
        strategy: CrowdStrategy,
        now_ms: Callable[[], int],
    ) -> None:
        self._venue = venue
        self._traders = traders
        self._strategy = strategy
        self._now_ms = now_ms
        self._market_view = _VenueMarketView(venue, traders)

    async def run(
        self, *, interval_s: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Trade until cancelled."""
        while True:
            self.trade_once()
            await sleep(interval_s)

    def trade_once(self) -> None:
        request = self._strategy.next_trade(self._market_view)
        trader = self._traders[request.trader_index]
        try:
            place_market_order(
                self._venue,
                trader,
                token_id=request.token_id,
                side=request.side,
                amount=request.amount,
                now_ms=self._now_ms(),
            )
        except NoTrade as error:
            self._venue.refusals[f"crowd: {error}"] += 1
