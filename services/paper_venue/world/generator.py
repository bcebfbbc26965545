"""What would this seed's world look like: which markets, how deep, at which prices? The same seed
gives the same markets.
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
_V2_SUBJECT = 1
_EVENT = "eastmark-winner"
_EVENT_SUBJECTS = range(3, 6)
"""The outcomes of one neg-risk event. They stay together: where the count of markets ends among
them, they are markets like others."""


class Mood(StrEnum):
    """How hard this world is on those who copy."""

    CALM = "calm"
    """Deep books between 0.15 and 0.85, evenly paced leaders: most copies can fill."""
    ROUGH = "rough"
    """Every third market is thin, every third at an edge; leaders also make markets, and trade in
    bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlan:
    """A market before it has its condition on the chain. Prices in 1/10,000 USDC; ``mid`` lies
    between two ticks' levels.
    """

    id: str
    question_id: str
    question: str
    slug: str
    event_slug: str
    tick: int
    mid: int
    fee_rate: Decimal
    lowest: int
    """Where the mid turns round."""
    highest: int
    levels: int = 10
    """Of each side of the book."""
    depth_percent: int = 100
    """Of the shares that the market makers keep at the best price of a deep book."""
    version: MarketVersion = MarketVersion.V1
    neg_risk: bool = False
    """One of the outcomes of its event, of which exactly one comes true."""

    @property
    def exchange(self) -> str:
        """The contract that will settle it."""
        return exchange_for(self.version, neg_risk=self.neg_risk)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Character:
    """What sets a kind of market apart from others; prices in 1/10,000 USDC."""

    tick: int
    lowest: int
    highest: int
    levels: int = 10
    depth_percent: int = 100


_COARSE = _Character(tick=100, lowest=1_500, highest=8_500)
_FINE = _Character(tick=10, lowest=1_500, highest=8_500)
_THIN = _Character(tick=100, lowest=1_500, highest=8_500, levels=3, depth_percent=2)
_LOW_EDGE = _Character(tick=10, lowest=100, highest=400, levels=5)
_HIGH_EDGE = _Character(tick=10, lowest=9_600, highest=9_900, levels=5)


def _character(mood: Mood, index: int) -> _Character:
    if mood is Mood.ROUGH and index % 3 == 1:
        return _THIN
    if mood is Mood.ROUGH and index % 3 == 2:
        return _LOW_EDGE if index % 2 else _HIGH_EDGE
    return _FINE if index % len(_SUBJECTS) == len(_SUBJECTS) - 1 else _COARSE


def plan_markets(seed: int, count: int, *, mood: Mood = Mood.CALM) -> list[MarketPlan]:
    """The seed's markets: the subjects in turn, in a calm world every sixth with the fine tick."""
    chance = random.Random(f"{seed}:markets")  # noqa: S311
    whole = count // len(_SUBJECTS) * len(_SUBJECTS)
    return [
        _plan(seed, index, _character(mood, index), chance, may_be_neg_risk=index < whole)
        for index in range(count)
    ]


def _plan(
    seed: int, index: int, character: _Character, chance: random.Random, *, may_be_neg_risk: bool
) -> MarketPlan:
    subject = index % len(_SUBJECTS)
    question, slug, fee_rate = _SUBJECTS[subject]
    neg_risk = may_be_neg_risk and subject in _EVENT_SUBJECTS
    edition = index // len(_SUBJECTS) + 1
    room = (character.highest - character.lowest) // 10 // character.tick
    return MarketPlan(
        id=str(500_000 + index),
        question_id="0x" + keccak(text=f"slipstream paper market {seed} {index}").hex(),
        question=f"{question} (edition {edition})",
        slug=f"{slug}-{seed}-{edition}",
        event_slug=f"{_EVENT}-{seed}-{edition}" if neg_risk else f"{slug}-{seed}",
        tick=character.tick,
        mid=character.lowest + chance.randrange(room, 9 * room + 1) * character.tick,
        fee_rate=fee_rate,
        lowest=character.lowest,
        highest=character.highest,
        levels=character.levels,
        depth_percent=character.depth_percent,
        version=MarketVersion.V2 if subject == _V2_SUBJECT else MarketVersion.V1,
        neg_risk=neg_risk,
    )


def recorded_question_id(condition_id: str) -> str:
    """Of the condition that stands for a recorded one: the recorded id itself would need the
    recorded oracle.
    """
    return "0x" + keccak(text=f"slipstream recorded market {condition_id}").hex()


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
        version=plan.version,
        neg_risk=plan.neg_risk,
    )
