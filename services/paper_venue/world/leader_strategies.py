"""Decides what each simulated leader and crowd trader does next, by the leader's strategy.

Pure but for seeded random numbers: the same seed and the same market give the same actions.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.paper_venue.exchange.orders import PRICE_ONE, Market, Side
from services.paper_venue.world.market_plans import MarketCharacter

SHARE = 1_000_000
CENT = 10_000
_MIN_SALE = 20 * SHARE
_MIN_MERGE = 20 * SHARE
_MAX_POSITIONS = 4
_QUOTED_SHARES = 40 * SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRequest:
    """A market order that a simulated trader wants to place.

    ``amount``: micro-USDC for a BUY, micro-shares for a SELL; both multiples of 10,000 (a cent, a
    hundredth of a share).
    """

    trader_index: int
    token_id: str
    side: Side
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Requote:
    """A market-making leader cancels his quotes and places these. Prices in 1/10,000 USDC,
    ``shares`` in micro-shares (whole shares).
    """

    trader_index: int
    token_id: str
    bid: int
    ask: int | None
    """None: he has nothing to sell, so he places no ask."""
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A leader turns pairs of both outcomes into USDC on the chain. That is not a trade: no feed of
    trades reports it. ``shares``: micro-shares of each outcome.
    """

    trader_index: int
    market: Market
    shares: int


LeaderAction = TradeRequest | Requote | Merge


class MarketView(Protocol):
    """What a simulated trader knows of his own shares and of the order books."""

    def free_shares(self, trader_index: int) -> Mapping[str, int]:
        """Micro-shares by token id that no resting order of his reserves."""
        ...

    def best_prices(self, token_id: str) -> tuple[int | None, int | None]:
        """(best bid, best ask) in 1/10,000 USDC; None: that side of the book is empty."""
        ...


class LeaderStrategy(StrEnum):
    """How a simulated leader trades."""

    ACCUMULATE = "accumulate"
    """Buys one outcome in several equal orders, then another; sells a random position when he holds
    more than four."""
    EXIT_IN_PARTS = "exit-in-parts"
    """Buys once and sells in several parts."""
    FLIP = "flip"
    """Sells all of one outcome and buys the other."""
    MERGE_OUT = "merge-out"
    """Buys both outcomes and merges them on the chain; never sells."""
    MARKET_MAKE = "market-make"
    """Places resting orders on both sides, and trades when somebody takes them."""


CALM_STRATEGIES = (
    LeaderStrategy.ACCUMULATE,
    LeaderStrategy.EXIT_IN_PARTS,
    LeaderStrategy.FLIP,
    LeaderStrategy.MERGE_OUT,
)
ROUGH_STRATEGIES = (*CALM_STRATEGIES, LeaderStrategy.MARKET_MAKE)


def assign_strategies(character: MarketCharacter, leaders: int) -> list[LeaderStrategy]:
    """Each leader's strategy, assigned in turn.

    In calm markets no leader makes markets, so that every leader trade is one that a leader
    requested.
    """
    strategies = ROUGH_STRATEGIES if character is MarketCharacter.ROUGH else CALM_STRATEGIES
    return [strategies[index % len(strategies)] for index in range(leaders)]


class Leader(ABC):
    """One leader, with his own seeded random numbers and the state of his strategy."""

    def __init__(self, number: int, markets: Sequence[Market], rng: random.Random) -> None:
        self._number = number
        self._markets = markets
        self._rng = rng

    @abstractmethod
    def next_action(self, market_view: MarketView) -> LeaderAction:
        """The next action, decided by what he holds now: a trade that the market refused is
        requested again or given up.
        """

    def _random_token(self) -> str:
        return self._rng.choice(self._rng.choice(self._markets).token_ids)

    def _random_usdc(self) -> int:
        """A random amount from 20 to 500 USDC, in micro-USDC; half of them are below 100 USDC."""
        usdc = self._rng.choice((self._rng.randrange(20, 100), self._rng.randrange(100, 500)))
        return usdc * SHARE + self._rng.randrange(100) * CENT

    def _buy(self, token_id: str, amount: int) -> TradeRequest:
        return TradeRequest(
            trader_index=self._number,
            token_id=token_id,
            side=Side.BUY,
            amount=amount // CENT * CENT,
        )

    def _sell(self, token_id: str, shares: int) -> TradeRequest:
        return TradeRequest(
            trader_index=self._number,
            token_id=token_id,
            side=Side.SELL,
            amount=shares // CENT * CENT,
        )

    def _sellable_shares(self, market_view: MarketView) -> dict[str, int]:
        """Micro-shares by token of the positions that are large enough to sell, in market order."""
        shares = market_view.free_shares(self._number)
        tokens = (token for market in self._markets for token in market.token_ids)
        return {token: shares[token] for token in tokens if shares.get(token, 0) >= _MIN_SALE}


class Accumulator(Leader):
    def __init__(self, number: int, markets: Sequence[Market], rng: random.Random) -> None:
        super().__init__(number, markets, rng)
        self._orders: list[tuple[str, int]] = []  # token and amount of each order still to place

    def next_action(self, market_view: MarketView) -> LeaderAction:
        if self._orders:
            return self._buy(*self._orders.pop())
        sellable = self._sellable_shares(market_view)
        if len(sellable) > _MAX_POSITIONS:
            token = self._rng.choice(list(sellable))
            return self._sell(token, sellable[token])
        self._orders = [
            (self._random_token(), self._rng.randrange(20, 120) * SHARE)
        ] * self._rng.randrange(3, 7)
        return self._buy(*self._orders.pop())


class PartialExiter(Leader):
    def __init__(self, number: int, markets: Sequence[Market], rng: random.Random) -> None:
        super().__init__(number, markets, rng)
        self._parts: list[int] = []

    def next_action(self, market_view: MarketView) -> LeaderAction:
        sellable = self._sellable_shares(market_view)
        if not sellable:
            self._parts = list(self._rng.choice(((100, 50, 33), (100, 25), (100, 50, 25, 25))))
            return self._buy(self._random_token(), self._random_usdc())
        token, shares = next(iter(sellable.items()))
        return self._sell(token, shares * (self._parts.pop() if self._parts else 100) // 100)


class Flipper(Leader):
    def __init__(self, number: int, markets: Sequence[Market], rng: random.Random) -> None:
        super().__init__(number, markets, rng)
        self._token = self._random_token()

    def next_action(self, market_view: MarketView) -> LeaderAction:
        sellable = self._sellable_shares(market_view)
        if not sellable:
            return self._buy(self._token, self._random_usdc())
        token, shares = next(iter(sellable.items()))
        market = next(market for market in self._markets if token in market.token_ids)
        self._token = (
            market.token_ids[1 - market.outcome_index(token)]
            if self._rng.randrange(4)
            else self._random_token()
        )
        return self._sell(token, shares)


class Merger(Leader):
    """Trades only markets whose pairs a holder can merge directly; pairs of neg-risk markets would
    have to go through an adapter.
    """

    def __init__(self, number: int, markets: Sequence[Market], rng: random.Random) -> None:
        super().__init__(
            number, [market for market in markets if not market.neg_risk] or markets, rng
        )
        self._market = self._rng.choice(self._markets)

    def next_action(self, market_view: MarketView) -> LeaderAction:
        shares = market_view.free_shares(self._number)
        yes, no = (shares.get(token, 0) for token in self._market.token_ids)
        if min(yes, no) >= _MIN_MERGE and not self._market.neg_risk:
            merged_market, self._market = self._market, self._rng.choice(self._markets)
            return Merge(trader_index=self._number, market=merged_market, shares=min(yes, no))
        if yes == no:
            return self._buy(self._rng.choice(self._market.token_ids), self._random_usdc())
        missing = self._market.token_ids[0 if yes < no else 1]
        _, ask = market_view.best_prices(missing)
        cost = abs(yes - no) * (ask or PRICE_ONE // 2) // PRICE_ONE
        return self._buy(missing, min(max(cost, 20 * SHARE), 500 * SHARE))


class Quoter(Leader):
    def __init__(self, number: int, markets: Sequence[Market], rng: random.Random) -> None:
        super().__init__(number, markets, rng)
        self._token = self._random_token()

    def next_action(self, market_view: MarketView) -> LeaderAction:
        bid, ask = market_view.best_prices(self._token)
        market = next(market for market in self._markets if self._token in market.token_ids)
        if bid is None or ask is None or self._rng.randrange(8) == 0:
            self._token = self._random_token()
            return self._buy(self._token, 20 * SHARE)
        if ask - bid > market.tick:
            # One tick better than everybody else on one side: there his order trades first.
            bid, ask = (
                (bid + market.tick, ask) if self._rng.randrange(2) else (bid, ask - market.tick)
            )
        can_sell = market_view.free_shares(self._number).get(self._token, 0) >= _QUOTED_SHARES
        return Requote(
            trader_index=self._number,
            token_id=self._token,
            bid=bid,
            ask=ask if can_sell else None,
            shares=_QUOTED_SHARES,
        )


_LEADER_BY_STRATEGY: Mapping[
    LeaderStrategy, Callable[[int, Sequence[Market], random.Random], Leader]
] = {
    LeaderStrategy.ACCUMULATE: Accumulator,
    LeaderStrategy.EXIT_IN_PARTS: PartialExiter,
    LeaderStrategy.FLIP: Flipper,
    LeaderStrategy.MERGE_OUT: Merger,
    LeaderStrategy.MARKET_MAKE: Quoter,
}


class ActionSequence:
    """The seeded sequence of all leaders' actions."""

    def __init__(
        self, seed: int, *, strategies: Sequence[LeaderStrategy], markets: Sequence[Market]
    ) -> None:
        self._rng = random.Random(f"{seed}:leaders")  # noqa: S311
        self._leaders = [
            _LEADER_BY_STRATEGY[strategy](number, markets, random.Random(f"{seed}:leader {number}"))  # noqa: S311
            for number, strategy in enumerate(strategies)
        ]

    def next_action(
        self, market_view: MarketView, *, busy: AbstractSet[int] = frozenset()
    ) -> LeaderAction | None:
        """The next action of a random leader who is not busy with a merge; None: all are busy."""
        free = [number for number in range(len(self._leaders)) if number not in busy]
        return self._leaders[self._rng.choice(free)].next_action(market_view) if free else None


class CrowdStrategy:
    """Decides what the crowd traders do: small market orders in any direction, which move the price
    of thin markets. Nobody follows these wallets.
    """

    def __init__(self, seed: int, *, traders: int, markets: Sequence[Market]) -> None:
        self._rng = random.Random(f"{seed}:crowd")  # noqa: S311
        self._traders = traders
        self._tokens = [token for market in markets for token in market.token_ids]

    def next_trade(self, market_view: MarketView) -> TradeRequest:
        trader = self._rng.randrange(self._traders)
        held = [
            token
            for token in self._tokens
            if market_view.free_shares(trader).get(token, 0) >= _MIN_SALE
        ]
        if held and self._rng.randrange(2):
            token = self._rng.choice(held)
            return TradeRequest(
                trader_index=trader,
                token_id=token,
                side=Side.SELL,
                amount=market_view.free_shares(trader)[token] // CENT * CENT,
            )
        amount = self._rng.randrange(500, 6_000) * CENT
        return TradeRequest(
            trader_index=trader,
            token_id=self._rng.choice(self._tokens),
            side=Side.BUY,
            amount=amount,
        )


class Pace:
    """How long the leaders wait between two actions.

    Calm: always the same. Rough: now and then a burst of ten, followed by a pause that makes up for
    it, so that the average pace stays as requested.
    """

    def __init__(self, seed: int, character: MarketCharacter) -> None:
        self._rng = random.Random(f"{seed}:rhythm")  # noqa: S311
        self._has_bursts = character is MarketCharacter.ROUGH
        self._left_in_burst = 0

    def next_interval(self) -> int:
        """How long until the next action, in percent of the requested interval."""
        if not self._has_bursts:
            return 100
        if self._left_in_burst == 0 and self._rng.randrange(30) == 0:
            self._left_in_burst = 10
        if self._left_in_burst == 0:
            return 100
        self._left_in_burst -= 1
        return 10 if self._left_in_burst else 910
