"""Growth over a long run. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

from tools.bench.figures import Latency

MIN_GROWTH_MB, MIN_GROWTH = 4.0, 0.02
"""What a process must have grown over the second half to count as growing: less is noise."""
RISE = 1.1
"""The last third's mean to the first third's, from which latency or CPU counts as risen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was read of the processes at a moment of the run."""

    second: float
    """Since its start."""
    memory_mb: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    """Since the process began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A process's memory over the second half of a run: in the first half caches fill."""

    process: str
    first_mb: float
    last_mb: float
    mb_per_hour: float
    """The slope of a line through the second half."""
    grows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """One minute of a run."""

    minute: int
    expected: int
    arrived: int
    duplicates: int
    latency: Latency | None
    """Of the copies of its trades. None: none arrived."""
    cpu_per_1000: Mapping[str, float]

    @property
    def cpu(self) -> float:
        return sum(self.cpu_per_1000.values())


def compute_growth(samples: Sequence[Sample]) -> list[Growth]:
    """Of each process, in the order of its name. Empty for less than four samples."""
    if len(samples) < 4:
        return []
    return [_compute_growth_of_process(name, samples) for name in sorted(samples[-1].memory_mb)]


def _compute_growth_of_process(name: str, samples: Sequence[Sample]) -> Growth:
    second_half = samples[len(samples) // 2 :]
    seconds = [sample.second for sample in second_half]
    memory = [sample.memory_mb.get(name, 0.0) for sample in second_half]
    slope = linear_regression(seconds, memory).slope
    grown = slope * (seconds[-1] - seconds[0])
    return Growth(
        process=name,
        first_mb=samples[0].memory_mb.get(name, 0.0),
        last_mb=memory[-1],
        mb_per_hour=slope * 3600,
        grows=grown > max(MIN_GROWTH_MB, MIN_GROWTH * fmean(memory)),
    )


def compute_rise(values: Sequence[float]) -> float | None:
    """The mean of the last third to that of the first. None: there are less than three, or the
    first third is zero.
    """
    third = len(values) // 3
    first = fmean(values[:third]) if third else 0.0
    return fmean(values[-third:]) / first if first else None


def judge(minutes: Sequence[Minute], growth: Sequence[Growth]) -> list[str]:
    """What a run shows, one sentence each; the first minute, which warms up, does not count."""
    steady = minutes[1:]
    lost = sum(minute.expected - minute.arrived for minute in minutes)
    doubled = sum(minute.duplicates for minute in minutes)
    growing = [each for each in growth if each.grows]
    verdicts = [
        f"{lost} copies did not arrive, {doubled} arrived twice"
        if lost or doubled
        else "every copy arrived, once",
        *(
            _describe_rise(name, compute_rise(values))
            for name, values in (
                ("p50", [each.latency.p50 for each in steady if each.latency]),
                ("p99", [each.latency.p99 for each in steady if each.latency]),
                ("CPU per 1,000", [each.cpu for each in steady]),
            )
        ),
    ]
    if not growth:
        return [*verdicts, "too short to tell whether memory grows"]
    if not growing:
        return [*verdicts, "no process grew over the second half"]
    names = ", ".join(f"{each.process} by {each.mb_per_hour:.0f} MB an hour" for each in growing)
    return [*verdicts, f"over the second half grew: {names}"]


def _describe_rise(name: str, rise: float | None) -> str:
    if rise is None:
        return f"{name}: too short to tell whether it rose"
    changed = "rose" if rise >= RISE else "did not rise"
    return f"{name} {changed}: the last third was {rise:.2f} times the first"
