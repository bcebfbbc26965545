"""What would this seed's world look like, and what would its leaders do next? The same seed and answers give the same world."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from eth_utils.crypto import keccak

from services.paper_venue.orders import PRICE_ONE, Market, Side

_SHARE = 1_000_000
_CENT = 10_000
_LEVELS = 10
_SUBJECTS = (
    ("Will Northport win the cup final?", "northport-cup-final", Decimal("0.05")),
    ("Will the central bank cut rates this year?", "central-bank-cut", Decimal("0.05")),
    ("Will the Meridian treaty be signed?", "meridian-treaty", Decimal(0)),
    ("Will the Halley probe reach orbit?", "halley-probe-orbit", Decimal("0.04")),
    ("Will the incumbent win in Eastmark?", "eastmark-incumbent", Decimal("0.04")),
    ("Will rainfall break the record?", "rainfall-record", Decimal("0.05")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlan:
    """A market before it has its condition on the chain. ``mid`` and ``tick`` in 1/10,000 USDC; ``mid`` lies between two ticks' levels."""

    id: str
    question_id: str
    question: str
    slug: str
    event_slug: str
    tick: int
    mid: int
    fee_rate: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a market maker keeps in the book. ``maker`` numbers the market makers, two of them."""

    maker: int
    outcome: int
    side: Side
    price: int
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A trade that a leader wants to make. ``amount``: micro-USDC for a BUY, micro-shares for a SELL, both whole cents."""

    leader: int
    token_id: str
    side: Side
    amount: int


def plan_markets(seed: int, count: int) -> list[MarketPlan]:
    """The seed's markets: the subjects in turn, every sixth with the fine tick."""
    chance = random.Random(f"{seed}:markets")  # noqa: S311
    plans = []
    for index in range(count):
        question, slug, fee_rate = _SUBJECTS[index % len(_SUBJECTS)]
        edition = index // len(_SUBJECTS) + 1
        tick = 10 if index % len(_SUBJECTS) == len(_SUBJECTS) - 1 else 100
        plans.append(
            MarketPlan(
                id=str(500_000 + index),
                question_id="0x" + keccak(text=f"slipstream paper market {seed} {index}").hex(),
                question=f"{question} (edition {edition})",
                slug=f"{slug}-{seed}-{edition}",
                event_slug=f"{slug}-{seed}",
                tick=tick,
                mid=chance.randrange(20, 80) * 100,
                fee_rate=fee_rate,
            )
        )
    return plans


def quotes_for(plan: MarketPlan, *, shares: int) -> list[Quote]:
    """A ladder of ten levels on both sides, ``shares`` micro-shares at the best and more behind.

    Every second level stands as its mirror on the other outcome, so that takers meet sellers, buyers to mint with and sellers to
    merge with.
    """
    quotes = []
    for level in range(1, _LEVELS + 1):
        deep = shares * (1 + level // 2)
        bid, ask = plan.mid - plan.tick * level, plan.mid + plan.tick * level
        if level % 2:
            quotes.append(Quote(maker=0, outcome=0, side=Side.BUY, price=bid, shares=deep))
            quotes.append(Quote(maker=0, outcome=0, side=Side.SELL, price=ask, shares=deep))
        else:
            quotes.append(Quote(maker=1, outcome=1, side=Side.SELL, price=PRICE_ONE - bid, shares=deep))
            quotes.append(Quote(maker=1, outcome=1, side=Side.BUY, price=PRICE_ONE - ask, shares=deep))
    return quotes


class LeaderTape:
    """What the leaders do, one wish after another: mostly they buy; what they hold, they leave in parts."""

    def __init__(self, seed: int, *, leaders: int, markets: Sequence[Market]) -> None:
        self._chance = random.Random(f"{seed}:leaders")  # noqa: S311
        self._leaders = leaders
        self._tokens = [token for market in markets for token in market.token_ids]

    def next(self, holdings: Sequence[Mapping[str, int]]) -> Wish:
        """The next wish, given each leader's micro-shares by token id."""
        leader = self._chance.randrange(self._leaders)
        held = sorted((token, shares) for token, shares in holdings[leader].items() if shares >= 20 * _SHARE)
        if held and self._chance.random() < 0.25:
            token, shares = self._chance.choice(held)
            part = shares * self._chance.choice((25, 50, 100)) // 100
            return Wish(leader=leader, token_id=token, side=Side.SELL, amount=part // _CENT * _CENT)
        dollars = self._chance.choice((self._chance.randrange(20, 100), self._chance.randrange(100, 501)))
        cents = self._chance.randrange(100)
        return Wish(
            leader=leader,
            token_id=self._chance.choice(self._tokens),
            side=Side.BUY,
            amount=dollars * _SHARE + cents * _CENT * (dollars < 500),
        )


def market_of(plan: MarketPlan, *, condition_id: str, token_ids: tuple[str, str]) -> Market:
    return Market(
        id=plan.id,
        condition_id=condition_id,
        question_id=plan.question_id,
        token_ids=token_ids,
        question=plan.question,
        slug=plan.slug,
        event_slug=plan.event_slug,
        tick=plan.tick,
        fee_rate=plan.fee_rate,
    )
