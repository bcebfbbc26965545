"""The demo's follows: different terms, so that copies and refusals of several kinds occur."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from shared.domain.follows import Follow
from shared.domain.ids import follow_id
from shared.domain.money import MICROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a follower copies all his leaders. Amounts in whole USDC."""

    name: str
    percent: Decimal | None = None
    fixed: int | None = None
    minimum: int = 1
    maximum: int = 100
    slippage_bps: Decimal = Decimal(300)
    daily_cap: int = 2_000


TERMS = (
    Terms(name="a tenth", percent=Decimal(10)),
    Terms(name="fixed amount", fixed=5),
    Terms(name="small share", percent=Decimal(5), maximum=10),
    Terms(name="two in a hundred, no minimum", percent=Decimal(2), minimum=0),
    Terms(name="small daily cap", fixed=10, daily_cap=150),
    Terms(name="fixed amount", fixed=8),
    Terms(name="a twentieth", percent=Decimal(5)),
    Terms(name="more than he has", percent=Decimal(50), maximum=250, daily_cap=100_000),
    Terms(name="a tenth, hardly any slippage", percent=Decimal(10), slippage_bps=Decimal("0.5")),
    Terms(name="fixed amount", fixed=3),
)
LEADERS_PER_FOLLOWER = 2


def plan_follows(leaders: Sequence[str], proxies: Sequence[str]) -> list[Follow]:
    """Each follower copies two leaders by the same terms; the next one copies others."""
    return [
        _build_follow(leader, proxy, TERMS[number % len(TERMS)])
        for number, proxy in enumerate(proxies)
        for leader in _choose_leaders(number, leaders)
    ]


def _choose_leaders(number: int, leaders: Sequence[str]) -> list[str]:
    return [
        leaders[(number + step) % len(leaders)]
        for step in range(min(LEADERS_PER_FOLLOWER, len(leaders)))
    ]


def _build_follow(leader: str, proxy: str, terms: Terms) -> Follow:
    return Follow(
        follow_id=follow_id(leader=leader, proxy=proxy),
        version=0,
        leader=leader,
        proxy=proxy,
        percent=terms.percent,
        fixed_usdc=None if terms.fixed is None else terms.fixed * MICROS,
        min_usdc=terms.minimum * MICROS,
        max_usdc=terms.maximum * MICROS,
        max_slippage_bps=terms.slippage_bps,
        daily_cap_usdc=terms.daily_cap * MICROS,
    )
