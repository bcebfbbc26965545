"""Compare what was measured with the goals. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.bench.loads import BURST, HISTORY, LIGHT, RATE, Load
from tools.bench.path import LoadResult

FLOOR, PIPELINE = "floor", "pipeline"
WITHOUT_PAST, WITH_PAST = "without a past", "with a past"
"""The names of the two loads of the history benchmark that are compared."""

GOAL_RATE, GOAL_SECONDS = 1_000, 60
MAX_P50_RATIO, MAX_P99_RATIO, MAX_BURST_RATIO = 1.3, 1.5, 1.5
MAX_P99_MS, MAX_CPU, MAX_HISTORY_RATIO = 250, 1.6, 1.1

Measured = Mapping[str, Sequence[LoadResult]]
"""Results by system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    text: str
    limit: float
    value: float | None
    """None: not measured."""
    is_least: bool = False
    """Whether the limit is the least that is wanted, and not the most."""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        met = self.value >= self.limit if self.is_least else self.value <= self.limit
        return "met" if met else "missed"


def compare(measured: Measured) -> list[Goal]:
    """All goals, in the order of the issue that set them."""
    return [
        Goal(
            text="light load, p50 to the floor's",
            limit=MAX_P50_RATIO,
            value=_light_ratio(measured, 50),
        ),
        Goal(
            text="light load, p99 to the floor's",
            limit=MAX_P99_RATIO,
            value=_light_ratio(measured, 99),
        ),
        *_compare_rate(measured),
        Goal(
            text="CPU with history to that without",
            limit=MAX_HISTORY_RATIO,
            value=_history_ratio(measured),
        ),
        Goal(
            text="1,000 followers of one trade, p99 to the floor's",
            limit=MAX_BURST_RATIO,
            value=_burst_ratio(measured),
        ),
        Goal(
            text="10,000 followers, p99 to that of 1,000",
            limit=10,
            value=_divide(_burst_p99(measured, 10_000), _burst_p99(measured, 1_000)),
        ),
    ]


def highest_sustained(rows: Sequence[LoadResult]) -> float:
    """Copies per second of the highest sustained rate; 0 where there is none."""
    return max(
        (row.load.copies_per_second for row in rows if row.is_sustained and row.load.kind == RATE),
        default=0.0,
    )


def find_floor(measured: Measured, load: Load) -> LoadResult | None:
    """The floor's result under the same load, if it was measured."""
    return next((row for row in measured.get(FLOOR, ()) if row.load == load), None)


def _compare_rate(measured: Measured) -> list[Goal]:
    """The rate, and how late and dear its copies are: at the goal's rate, or the highest that was
    sustained. A shorter load than the goal's proves no rate.
    """
    rates = [row for row in measured.get(PIPELINE, ()) if row.load.kind == RATE]
    sustained = [row for row in rates if row.is_sustained and row.load.seconds >= GOAL_SECONDS]
    at = max(
        sustained,
        key=lambda row: (row.load.copies_per_second == GOAL_RATE, row.load.copies_per_second),
        default=None,
    )
    name = at.load.name if at else f"{GOAL_RATE} copies/s"
    return [
        Goal(
            text=f"copies/s for {GOAL_SECONDS} s",
            limit=GOAL_RATE,
            value=highest_sustained(sustained) if rates else None,
            is_least=True,
        ),
        Goal(
            text=f"p99 in ms at {name}",
            limit=MAX_P99_MS,
            value=at.result.latency.p99 if at else None,
        ),
        Goal(
            text=f"CPU s per 1,000 at {name}",
            limit=MAX_CPU,
            value=at.cpu_of_whole_copies if at else None,
        ),
    ]


def _light_ratio(measured: Measured, percent: int) -> float | None:
    """None where not every copy arrived once, as for a burst."""
    light = next((r for r in measured.get(PIPELINE, ()) if r.load.kind == LIGHT), None)
    least = find_floor(measured, light.load) if light else None
    if light is None or least is None or not (light.is_complete and least.is_complete):
        return None
    ours, floors = light.result.latency, least.result.latency
    return ours.p50 / floors.p50 if percent == 50 else ours.p99 / floors.p99


def _history_ratio(measured: Measured) -> float | None:
    by_name = {row.load.name: row.cpu_of_whole_copies for row in measured.get(HISTORY, ())}
    return _divide(by_name.get(WITH_PAST), by_name.get(WITHOUT_PAST))


def _burst_ratio(measured: Measured) -> float | None:
    return _divide(_burst_p99(measured, 1_000), _burst_p99(measured, 1_000, system=FLOOR))


def _burst_p99(measured: Measured, followers: int, *, system: str = PIPELINE) -> float | None:
    """None where not every copy arrived: a quantile of those that did would tell nothing."""
    return next(
        (
            row.result.latency.p99
            for row in measured.get(system, ())
            if row.load.kind == BURST and row.load.followers == followers and row.is_sustained
        ),
        None,
    )


def _divide(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
