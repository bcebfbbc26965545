"""Plans the markets of a seed: which markets, how deep, at which prices.

The same seed gives the same markets.
"""

import random
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from eth_utils.crypto import keccak

from services.paper_venue.exchange.orders import Market, MarketVersion, exchange_for

_SUBJECTS = (
    ("Will Northport win the cup final?", "northport-cup-final", Decimal("0.05")),
    ("Will the central bank cut rates this year?", "central-bank-cut", Decimal("0.05")),
    ("Will the Meridian treaty be signed?", "meridian-treaty", Decimal(0)),
    ("Will the incumbent win in Eastmark?", "eastmark-incumbent", Decimal("0.04")),
    ("Will the challenger win in Eastmark?", "eastmark-challenger", Decimal("0.04")),
    ("Will somebody else win in Eastmark?", "eastmark-somebody-else", Decimal("0.04")),
)
_TAGS = (
    ("sports",),
    ("economy", "interest-rates"),
    ("politics", "geopolitics"),
    ("politics", "elections"),
    ("politics", "elections"),
    ("politics", "elections"),
)
"""By the index of the subject."""
_V2_SUBJECT = 1
_EVENT = "eastmark-winner"
_EVENT_SUBJECTS = range(3, 6)
"""The outcomes of one neg-risk event. They stay together: an event that the number of markets would
cut apart becomes separate ordinary markets."""


class MarketCharacter(StrEnum):
    """How deep the simulated markets are and how their leaders trade."""

    CALM = "calm"
    """Deep books, prices between 0.15 and 0.85, leaders at an even pace: most copies can fill."""
    ROUGH = "rough"
    """Every third market is thin, every third is priced near 0 or 1; leaders also make markets, and
    trade in bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlan:
    """A market before its condition is prepared on the chain.

    Prices in 1/10,000 USDC; nobody quotes at ``mid`` itself: the best quotes are one tick away.
    """

    id: str
    question_id: str
    question: str
    slug: str
    event_slug: str
    tags: tuple[str, ...]
    """Slugs."""
    tick: int
    mid: int
    fee_rate: Decimal
    min_mid: int
    """The mid never moves below this."""
    max_mid: int
    """The mid never moves above this."""
    levels: int = 10
    """On each side of the book."""
    depth_percent: int = 100
    """In percent of the shares that the market makers keep at the best price of a deep book."""
    version: MarketVersion = MarketVersion.V1
    neg_risk: bool = False
    """Its event has several outcomes, of which exactly one comes true."""

    @property
    def exchange(self) -> str:
        """The address of the exchange contract that settles it."""
        return exchange_for(self.version, neg_risk=self.neg_risk)


@dataclass(frozen=True, slots=True, kw_only=True)
class _MarketProfile:
    """The ticks, prices and depth of one kind of market. Prices in 1/10,000 USDC."""

    tick: int
    min_mid: int
    max_mid: int
    levels: int = 10
    depth_percent: int = 100


_COARSE = _MarketProfile(tick=100, min_mid=1_500, max_mid=8_500)
_FINE = _MarketProfile(tick=10, min_mid=1_500, max_mid=8_500)
_THIN = _MarketProfile(tick=100, min_mid=1_500, max_mid=8_500, levels=3, depth_percent=2)
_LOW_EDGE = _MarketProfile(tick=10, min_mid=100, max_mid=400, levels=5)
_HIGH_EDGE = _MarketProfile(tick=10, min_mid=9_600, max_mid=9_900, levels=5)


def _profile_for(character: MarketCharacter, index: int) -> _MarketProfile:
    if character is MarketCharacter.ROUGH and index % 3 == 1:
        return _THIN
    if character is MarketCharacter.ROUGH and index % 3 == 2:
        return _LOW_EDGE if index % 2 else _HIGH_EDGE
    return _FINE if index % len(_SUBJECTS) == len(_SUBJECTS) - 1 else _COARSE


def plan_markets(
    seed: int, count: int, *, character: MarketCharacter = MarketCharacter.CALM
) -> list[MarketPlan]:
    """The markets of a seed: the subjects in turn. If calm, every sixth has the fine tick."""
    rng = random.Random(f"{seed}:markets")  # noqa: S311
    whole = count // len(_SUBJECTS) * len(_SUBJECTS)
    return [
        _plan(seed, index, _profile_for(character, index), rng, may_be_neg_risk=index < whole)
        for index in range(count)
    ]


def _plan(
    seed: int, index: int, profile: _MarketProfile, rng: random.Random, *, may_be_neg_risk: bool
) -> MarketPlan:
    subject = index % len(_SUBJECTS)
    question, slug, fee_rate = _SUBJECTS[subject]
    neg_risk = may_be_neg_risk and subject in _EVENT_SUBJECTS
    edition = index // len(_SUBJECTS) + 1
    room = (profile.max_mid - profile.min_mid) // 10 // profile.tick
    return MarketPlan(
        id=str(500_000 + index),
        question_id="0x" + keccak(text=f"slipstream paper market {seed} {index}").hex(),
        question=f"{question} (edition {edition})",
        slug=f"{slug}-{seed}-{edition}",
        tags=_TAGS[subject],
        event_slug=f"{_EVENT}-{seed}-{edition}" if neg_risk else f"{slug}-{seed}",
        tick=profile.tick,
        mid=profile.min_mid + rng.randrange(room, 9 * room + 1) * profile.tick,
        fee_rate=fee_rate,
        min_mid=profile.min_mid,
        max_mid=profile.max_mid,
        levels=profile.levels,
        depth_percent=profile.depth_percent,
        version=MarketVersion.V2 if subject == _V2_SUBJECT else MarketVersion.V1,
        neg_risk=neg_risk,
    )


def build_market(plan: MarketPlan, *, condition_id: str, token_ids: tuple[str, str]) -> Market:
    return Market(
        id=plan.id,
        condition_id=condition_id,
        question_id=plan.question_id,
        token_ids=token_ids,
        question=plan.question,
        slug=plan.slug,
        event_slug=plan.event_slug,
        tags=plan.tags,
        tick=plan.tick,
        fee_rate=plan.fee_rate,
        version=plan.version,
        neg_risk=plan.neg_risk,
    )
