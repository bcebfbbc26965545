"""The loads under which the whole path is measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_P99_MS = 2_000.0
"""With a higher p99 a rate does not count as sustained."""

LIGHT, TARGET, BURST = "light", "579 copies/s", "burst of 1000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    name: str
    trades_per_second: float
    followers: int
    seconds: float

    @property
    def trades(self) -> int:
        return max(1, round(self.trades_per_second * self.seconds))

    @property
    def copies_per_second(self) -> float:
        return self.trades_per_second * self.followers


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured of each system: fixed loads, then steps up to the first unsustained one."""

    fixed: Sequence[Load]
    steps: Sequence[Load]

    @property
    def sizes(self) -> tuple[int, ...]:
        """All numbers of followers that the loads use."""
        return tuple(sorted({load.followers for load in (*self.fixed, *self.steps)}))


def build_step(copies_per_second: int, *, seconds: float = 15) -> Load:
    return Load(
        name=f"{copies_per_second} copies/s",
        trades_per_second=copies_per_second / 100,
        followers=100,
        seconds=seconds,
    )


FULL = Plan(
    fixed=(
        Load(name=LIGHT, trades_per_second=5, followers=10, seconds=20),
        Load(name=TARGET, trades_per_second=5.79, followers=100, seconds=20),
        Load(name=BURST, trades_per_second=1, followers=1000, seconds=1),
    ),
    steps=tuple(
        build_step(rate)
        for rate in (
            200,
            300,
            400,
            500,
            600,
            700,
            800,
            1000,
            1200,
            1400,
            1600,
            1800,
            2000,
            2500,
            3000,
            4000,
        )
    ),
)
TINY = Plan(
    fixed=(
        replace(FULL.fixed[0], seconds=3),
        Load(name=TARGET, trades_per_second=2, followers=20, seconds=2),
    ),
    steps=(replace(build_step(100), followers=20, trades_per_second=5, seconds=2),),
)
