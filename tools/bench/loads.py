"""The loads under which the whole path is measured."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tools.bench.followers import Audience

MAX_P99_MS = 2_000.0
"""With a higher p99 a rate does not count as sustained."""
SECONDS = 60.0
LATE_S, LATE_IN_BURST_S = 8.0, 60.0
"""How long late orders are waited for."""
BURST_INTERVAL_S = 10.0
"""Between two bursts of 1,000; ten times as many need three times as long to be worked off."""

LIGHT, HISTORY = "light", "history"
BURST, WALLETS, RATE = "burst", "wallets", "rate"
LIGHT_FOLLOWERS, RATE_FOLLOWERS = 10, 100
WALLETS_COPIES_PER_SECOND = 200
DEFAULT_LOADS = (
    "light,200,400,600,800,1000,1200,burst-1000,burst-10000,wallets-1000,wallets-5000,history"
)

_TOKEN = re.compile(
    r"(?P<kind>light|history|burst-|wallets-|(?=\d))(?P<number>\d*)(?:x(?P<seconds>\d+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    name: str
    trades_per_second: float
    seconds: float
    followers: int
    wallets: int = 0
    """As in ``Audience``."""
    kind: str = RATE
    late_s: float = LATE_S

    @property
    def audience(self) -> Audience:
        return Audience(followers=self.followers, wallets=self.wallets)

    @property
    def trades(self) -> int:
        return max(1, round(self.trades_per_second * self.seconds))

    @property
    def copies(self) -> int:
        return self.trades * self.followers

    @property
    def copies_per_second(self) -> float:
        return self.trades_per_second * self.followers

    @property
    def max_p99_ms(self) -> float:
        """With a higher p99 it does not count as sustained. A burst may take as long as it does."""
        return math.inf if self.kind == BURST else MAX_P99_MS


def parse_loads(text: str, *, seconds: float = SECONDS) -> list[Load]:
    """The loads of a list such as ``light,1000,burst-1000,wallets-5000,1000x20``: copies per
    second, or one of the named ones; ``x20`` is how many seconds this one lasts.

    Raises: ValueError for something else.
    """
    return [_parse_load(token.strip(), seconds) for token in text.split(",") if token.strip()]


def _parse_load(token: str, seconds: float) -> Load:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise ValueError(
            f"{token!r} is no load: one of light, history, 500, burst-500, wallets-500"
        )
    kind, number = found["kind"].rstrip("-") or RATE, int(found["number"] or 0)
    if (number == 0) != (kind in (LIGHT, HISTORY)):
        raise ValueError(f"{token!r} is no load: {kind} {'has no' if number else 'needs a'} number")
    return _build_load(kind, number, float(found["seconds"] or seconds))


def _build_load(kind: str, number: int, seconds: float) -> Load:
    match kind:
        case "light":
            return Load(
                name=LIGHT,
                trades_per_second=5,
                followers=LIGHT_FOLLOWERS,
                seconds=seconds,
                kind=LIGHT,
            )
        case "burst":
            return _build_burst(number, seconds)
        case "wallets":
            followers = min(number, RATE_FOLLOWERS)
            load = build_rate(WALLETS_COPIES_PER_SECOND, seconds=seconds, followers=followers)
            name = f"{number} wallets"
            return replace(load, name=name, kind=WALLETS, wallets=number // followers * followers)
        case "history":
            return replace(build_rate(200, seconds=seconds), name=HISTORY, kind=HISTORY)
    return build_rate(number, seconds=seconds)


def build_rate(copies_per_second: int, *, seconds: float, followers: int = RATE_FOLLOWERS) -> Load:
    """A constant rate. Fewer followers of a leader where the rate is below theirs."""
    followers = min(followers, copies_per_second)
    return Load(
        name=f"{copies_per_second} copies/s",
        trades_per_second=copies_per_second / followers,
        followers=followers,
        seconds=seconds,
    )


def _build_burst(followers: int, seconds: float) -> Load:
    """One trade after another, each once the copies of the one before have arrived."""
    interval = BURST_INTERVAL_S * (3 if followers > 1000 else 1)
    return Load(
        name=f"burst of {followers}",
        trades_per_second=1 / interval,
        followers=followers,
        seconds=max(seconds, interval),
        kind=BURST,
        late_s=LATE_IN_BURST_S,
    )


def build_warm_up(audience: Audience) -> Load:
    """Two trades a second: for few followers some, for many one of each leader."""
    few = audience.followers <= RATE_FOLLOWERS and not audience.wallets
    trades = 5 if few else audience.leaders if audience.wallets else 1
    return Load(
        name="warm-up",
        trades_per_second=2,
        followers=audience.followers,
        wallets=audience.wallets,
        seconds=trades / 2,
        late_s=20 if few else LATE_IN_BURST_S,
    )


def group_loads(loads: Sequence[Load]) -> list[list[Load]]:
    """Loads that are measured on one stack, one after another: light and rates together, in
    rising order; each other one alone.
    """
    together = [load for load in loads if load.kind in (LIGHT, RATE)]
    rising = sorted(together, key=lambda load: load.copies_per_second)
    alone = [load for load in loads if load.kind not in (LIGHT, RATE)]
    return ([rising] if rising else []) + [[load] for load in alone]


def collect_audiences(loads: Sequence[Load]) -> tuple[Audience, ...]:
    """Each once, in the order of the loads."""
    return tuple(dict.fromkeys(load.audience for load in loads))
