"""How do the leaders and the crowd of a world trade: by the tape, or one trade on demand?"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from services.paper_venue.exchange.matching_engine import Accepted
from services.paper_venue.exchange.orders import Market, Side
from services.paper_venue.exchange.trades import Trade
from services.paper_venue.lifecycle.venue import Venue
from services.paper_venue.world.leader_strategies import (
    Crowd,
    Deed,
    LeaderTape,
    Merge,
    Requote,
    Rhythm,
    Wish,
)
from services.paper_venue.world.trader_wallets import HouseTrader, NoTrade, rest, take

__all__ = ["CrowdTrading", "Leaders", "Merging", "NoTrade"]

_HUNDREDTHS = 100


class Merging(Protocol):
    """How a leader turns pairs into USDC on the chain."""

    async def merge(self, trader: HouseTrader, market: Market, shares: int) -> None:
        """Merge ``shares`` micro-shares of both outcomes, once the chain has them. Raises:
        TransactionReverted, Transient.
        """
        ...


class _Eyes:
    """What traders of the house see, by the venue's own books and accounts."""

    def __init__(self, venue: Venue, traders: Sequence[HouseTrader]) -> None:
        self._engine = venue.engine
        self._traders = traders

    def shares_of(self, leader: int) -> Mapping[str, int]:
        account = self._engine.accounts.get(self._traders[leader].address)
        return {
            token: shares - account.reserved_shares.get(token, 0)
            for token, shares in account.shares.items()
        }

    def best(self, token_id: str) -> tuple[int | None, int | None]:
        market = self._engine.market_by_token[token_id]
        book, outcome = self._engine.books[market.condition_id], market.outcome_index(token_id)
        return book.best_bid(outcome), book.best_ask(outcome)


class Leaders:
    """Trade by the tape when started, or one trade on demand."""

    def __init__(
        self,
        venue: Venue,
        leaders: Sequence[HouseTrader],
        tape: LeaderTape,
        *,
        rhythm: Rhythm,
        merging: Merging,
        now_ms: Callable[[], int],
    ) -> None:
        self.traders = leaders
        self._venue = venue
        self._tape = tape
        self._rhythm = rhythm
        self._merging = merging
        self._now_ms = now_ms
        self._eyes = _Eyes(venue, leaders)
        self._merges: dict[int, asyncio.Task[None]] = {}
        self._quoted: dict[int, list[str]] = {}

    def trade(self, wish: Wish) -> tuple[Accepted, Trade]:
        """Make one trade now. Raises: NoTrade."""
        trader, now_ms = self.traders[wish.leader], self._now_ms()
        return take(
            self._venue,
            trader,
            token_id=wish.token_id,
            side=wish.side,
            amount=wish.amount,
            now_ms=now_ms,
        )

    async def run(
        self,
        *,
        trades: int,
        every_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Until the leaders have been in ``trades`` more trades; fewer only when cancelled. Takes
        their quotes and merges to an end.
        """
        until = self._venue.stats["leader_trades"] + trades
        try:
            while self._venue.stats["leader_trades"] < until:
                self.act()
                await sleep(every_s * self._rhythm.next() / _HUNDREDTHS)
            await asyncio.gather(*self._merges.values())
        finally:
            self._take_back_all()

    def act(self) -> None:
        """One deed. A wish that the market refuses is counted and followed by another. Raises what
        ended a merge.
        """
        self._end_merges()
        deed = self._tape.next(self._eyes, busy=self._merges.keys())
        if deed is None:
            return
        try:
            self._do(deed)
        except NoTrade as error:
            self._venue.refusals[f"leader: {error}"] += 1

    def _do(self, deed: Deed) -> None:
        if isinstance(deed, Wish):
            self.trade(deed)
        elif isinstance(deed, Requote):
            self._requote(deed)
        else:
            self._merge(deed)

    def _requote(self, deed: Requote) -> None:
        self._take_back(deed.leader)
        sides = {Side.BUY: deed.bid} | ({Side.SELL: deed.ask} if deed.ask is not None else {})
        standing = self._quoted.setdefault(deed.leader, [])
        trader, now_ms = self.traders[deed.leader], self._now_ms()
        for side, price in sides.items():
            standing.append(
                rest(
                    self._venue,
                    trader,
                    token_id=deed.token_id,
                    side=side,
                    price=price,
                    shares=deed.shares,
                    now_ms=now_ms,
                )
            )

    def _take_back(self, leader: int) -> None:
        for order_id in self._quoted.pop(leader, ()):
            self._venue.on_cancel(
                order_id, owner=self.traders[leader].api_key, now_ms=self._now_ms()
            )

    def _take_back_all(self) -> None:
        for leader in list(self._quoted):
            self._take_back(leader)

    def _merge(self, deed: Merge) -> None:
        merging = self._merging.merge(self.traders[deed.leader], deed.market, deed.shares)
        self._merges[deed.leader] = asyncio.ensure_future(merging)

    def _end_merges(self) -> None:
        for leader in [leader for leader, merge in self._merges.items() if merge.done()]:
            self._merges.pop(leader).result()


class CrowdTrading:
    """The crowd trades at a pace of its own, whatever the leaders do."""

    def __init__(
        self, venue: Venue, traders: Sequence[HouseTrader], crowd: Crowd, now_ms: Callable[[], int]
    ) -> None:
        self._venue = venue
        self._traders = traders
        self._crowd = crowd
        self._now_ms = now_ms
        self._eyes = _Eyes(venue, traders)

    async def run(
        self, *, every_s: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Until cancelled."""
        while True:
            self.act()
            await sleep(every_s)

    def act(self) -> None:
        wish = self._crowd.next(self._eyes)
        trader = self._traders[wish.leader]
        try:
            take(
                self._venue,
                trader,
                token_id=wish.token_id,
                side=wish.side,
                amount=wish.amount,
                now_ms=self._now_ms(),
            )
        except NoTrade as error:
            self._venue.refusals[f"crowd: {error}"] += 1
