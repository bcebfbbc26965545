"""What do the leaders do next, each in the style of its own? The same seed and answers of the
market give the same deeds.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.paper_venue.exchange.orders import PRICE_ONE, Market, Side
from services.paper_venue.world.generator import Mood

SHARE = 1_000_000
CENT = 10_000
_WORTH_SELLING = 20 * SHARE
_WORTH_MERGING = 20 * SHARE
_MOST_POSITIONS = 4
_QUOTED_SHARES = 40 * SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A trade at the market that a leader wants. ``amount``: micro-USDC for a BUY, micro-shares for
    a SELL, both whole cents.
    """

    leader: int
    token_id: str
    side: Side
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Requote:
    """A leader who makes a market takes back what he quoted, and quotes this: price in 1/10,000
    USDC, whole shares in micro-shares.
    """

    leader: int
    token_id: str
    bid: int
    ask: int | None
    """None: he has nothing to sell."""
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A leader turns pairs of both outcomes into USDC on the chain: no trade, and no feed of trades
    tells it. ``shares``: micro-shares.
    """

    leader: int
    market: Market
    shares: int


Deed = Wish | Requote | Merge


class Sight(Protocol):
    """What a leader sees of the market."""

    def shares_of(self, leader: int) -> Mapping[str, int]:
        """Micro-shares by token id."""
        ...

    def best(self, token_id: str) -> tuple[int | None, int | None]:
        """(bid, ask) in 1/10,000 USDC; None: nobody."""
        ...


class Style(StrEnum):
    ACCUMULATE = "accumulate"
    """Buys one outcome in slices, then another; leaves the oldest when there are many."""
    EXIT_IN_PARTS = "exit-in-parts"
    """Buys once, and sells in parts."""
    FLIP = "flip"
    """Sells all of one outcome and buys the other."""
    MERGE_OUT = "merge-out"
    """Buys both outcomes, and leaves by a merge: he never sells."""
    MARKET_MAKE = "market-make"
    """Rests orders on both sides, and trades when somebody takes them."""


CALM_STYLES = (Style.ACCUMULATE, Style.EXIT_IN_PARTS, Style.FLIP, Style.MERGE_OUT)
ROUGH_STYLES = (*CALM_STYLES, Style.MARKET_MAKE)


def styles_of(mood: Mood, leaders: int) -> list[Style]:
    """Each leader's style, in turn. In a calm world nobody makes markets: there every leader's
    trade is one that he asked for.
    """
    styles = ROUGH_STYLES if mood is Mood.ROUGH else CALM_STYLES
    return [styles[index % len(styles)] for index in range(leaders)]


class Leader(ABC):
    """One leader: a number, a seeded chance of his own, and what he is about."""

    def __init__(self, number: int, markets: Sequence[Market], chance: random.Random) -> None:
        self._number = number
        self._markets = markets
        self._chance = chance

    @abstractmethod
    def next(self, sight: Sight) -> Deed:
        """What he does next, judged by what he holds now: a wish that the market refused is simply
        wished again or given up.
        """

    def _some_token(self) -> str:
        return self._chance.choice(self._chance.choice(self._markets).token_ids)

    def _dollars(self) -> int:
        """From 20 to 500 USDC, mostly small, in micro-USDC."""
        dollars = self._chance.choice(
            (self._chance.randrange(20, 100), self._chance.randrange(100, 500))
        )
        return dollars * SHARE + self._chance.randrange(100) * CENT

    def _buy(self, token_id: str, amount: int) -> Wish:
        return Wish(
            leader=self._number, token_id=token_id, side=Side.BUY, amount=amount // CENT * CENT
        )

    def _sell(self, token_id: str, shares: int) -> Wish:
        return Wish(
            leader=self._number, token_id=token_id, side=Side.SELL, amount=shares // CENT * CENT
        )

    def _held(self, sight: Sight) -> dict[str, int]:
        """What he holds that is worth selling, in the order of the markets."""
        shares = sight.shares_of(self._number)
        tokens = (token for market in self._markets for token in market.token_ids)
        return {token: shares[token] for token in tokens if shares.get(token, 0) >= _WORTH_SELLING}


class Accumulator(Leader):
    def __init__(self, number: int, markets: Sequence[Market], chance: random.Random) -> None:
        super().__init__(number, markets, chance)
        self._slices: list[tuple[str, int]] = []

    def next(self, sight: Sight) -> Deed:
        if self._slices:
            return self._buy(*self._slices.pop())
        held = self._held(sight)
        if len(held) > _MOST_POSITIONS:
            token = self._chance.choice(list(held))
            return self._sell(token, held[token])
        self._slices = [
            (self._some_token(), self._chance.randrange(20, 120) * SHARE)
        ] * self._chance.randrange(3, 7)
        return self._buy(*self._slices.pop())


class PartialExiter(Leader):
    def __init__(self, number: int, markets: Sequence[Market], chance: random.Random) -> None:
        super().__init__(number, markets, chance)
        self._parts: list[int] = []

    def next(self, sight: Sight) -> Deed:
        held = self._held(sight)
        if not held:
            self._parts = list(self._chance.choice(((100, 50, 33), (100, 25), (100, 50, 25, 25))))
            return self._buy(self._some_token(), self._dollars())
        token, shares = next(iter(held.items()))
        return self._sell(token, shares * (self._parts.pop() if self._parts else 100) // 100)


class Flipper(Leader):
    def __init__(self, number: int, markets: Sequence[Market], chance: random.Random) -> None:
        super().__init__(number, markets, chance)
        self._token = self._some_token()

    def next(self, sight: Sight) -> Deed:
        held = self._held(sight)
        if not held:
            return self._buy(self._token, self._dollars())
        token, shares = next(iter(held.items()))
        market = next(market for market in self._markets if token in market.token_ids)
        self._token = (
            market.token_ids[1 - market.outcome_index(token)]
            if self._chance.randrange(4)
            else self._some_token()
        )
        return self._sell(token, shares)


class Merger(Leader):
    """Of markets whose pairs the holder merges by himself; a neg-risk market's go through an
    adapter.
    """

    def __init__(self, number: int, markets: Sequence[Market], chance: random.Random) -> None:
        super().__init__(
            number, [market for market in markets if not market.neg_risk] or markets, chance
        )
        self._market = self._chance.choice(self._markets)

    def next(self, sight: Sight) -> Deed:
        shares = sight.shares_of(self._number)
        yes, no = (shares.get(token, 0) for token in self._market.token_ids)
        if min(yes, no) >= _WORTH_MERGING and not self._market.neg_risk:
            merged, self._market = self._market, self._chance.choice(self._markets)
            return Merge(leader=self._number, market=merged, shares=min(yes, no))
        if yes == no:
            return self._buy(self._chance.choice(self._market.token_ids), self._dollars())
        missing = self._market.token_ids[0 if yes < no else 1]
        _, ask = sight.best(missing)
        worth = abs(yes - no) * (ask or PRICE_ONE // 2) // PRICE_ONE
        return self._buy(missing, min(max(worth, 20 * SHARE), 500 * SHARE))


class Quoter(Leader):
    def __init__(self, number: int, markets: Sequence[Market], chance: random.Random) -> None:
        super().__init__(number, markets, chance)
        self._token = self._some_token()

    def next(self, sight: Sight) -> Deed:
        bid, ask = sight.best(self._token)
        market = next(market for market in self._markets if self._token in market.token_ids)
        if bid is None or ask is None or self._chance.randrange(8) == 0:
            self._token = self._some_token()
            return self._buy(self._token, 20 * SHARE)
        if ask - bid > market.tick:
            # One tick better than everybody on one of the two sides: there he is the first who
            # trades.
            bid, ask = (
                (bid + market.tick, ask) if self._chance.randrange(2) else (bid, ask - market.tick)
            )
        has_some = sight.shares_of(self._number).get(self._token, 0) >= _QUOTED_SHARES
        return Requote(
            leader=self._number,
            token_id=self._token,
            bid=bid,
            ask=ask if has_some else None,
            shares=_QUOTED_SHARES,
        )


_LEADERS: Mapping[Style, Callable[[int, Sequence[Market], random.Random], Leader]] = {
    Style.ACCUMULATE: Accumulator,
    Style.EXIT_IN_PARTS: PartialExiter,
    Style.FLIP: Flipper,
    Style.MERGE_OUT: Merger,
    Style.MARKET_MAKE: Quoter,
}


class LeaderTape:
    """What the leaders do, one deed after another."""

    def __init__(self, seed: int, *, styles: Sequence[Style], markets: Sequence[Market]) -> None:
        self._chance = random.Random(f"{seed}:leaders")  # noqa: S311
        self._leaders = [
            _LEADERS[style](number, markets, random.Random(f"{seed}:leader {number}"))  # noqa: S311
            for number, style in enumerate(styles)
        ]

    def next(self, sight: Sight, *, busy: AbstractSet[int] = frozenset()) -> Deed | None:
        """The next deed of a leader who is not busy with a merge; None: all are."""
        free = [number for number in range(len(self._leaders)) if number not in busy]
        return self._leaders[self._chance.choice(free)].next(sight) if free else None


class Crowd:
    """Those whom nobody follows: they trade small amounts at the market, in any direction, and so
    push thin prices about.
    """

    def __init__(self, seed: int, *, traders: int, markets: Sequence[Market]) -> None:
        self._chance = random.Random(f"{seed}:crowd")  # noqa: S311
        self._traders = traders
        self._tokens = [token for market in markets for token in market.token_ids]

    def next(self, sight: Sight) -> Wish:
        trader = self._chance.randrange(self._traders)
        held = [
            token
            for token in self._tokens
            if sight.shares_of(trader).get(token, 0) >= _WORTH_SELLING
        ]
        if held and self._chance.randrange(2):
            token = self._chance.choice(held)
            return Wish(
                leader=trader,
                token_id=token,
                side=Side.SELL,
                amount=sight.shares_of(trader)[token] // CENT * CENT,
            )
        amount = self._chance.randrange(500, 6_000) * CENT
        return Wish(
            leader=trader, token_id=self._chance.choice(self._tokens), side=Side.BUY, amount=amount
        )


class Rhythm:
    """When the next deed comes. Evenly; in a rough world now and then ten at once, and then a pause
    as long as they saved.
    """

    def __init__(self, seed: int, mood: Mood) -> None:
        self._chance = random.Random(f"{seed}:rhythm")  # noqa: S311
        self._has_bursts = mood is Mood.ROUGH
        self._left = 0

    def next(self) -> int:
        """How long until the next deed, in hundredths of the asked pace."""
        if not self._has_bursts:
            return 100
        if self._left == 0 and self._chance.randrange(30) == 0:
            self._left = 10
        if self._left == 0:
            return 100
        self._left -= 1
        return 10 if self._left else 910
