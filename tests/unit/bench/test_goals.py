"""Goals are met or missed by what was measured, and by nothing that was not."""

from tools.bench.figures import Arrivals, Latency
from tools.bench.goals import FLOOR, PIPELINE, WITH_PAST, WITHOUT_PAST, Goal, compare
from tools.bench.loads import HISTORY, Load, parse_loads
from tools.bench.path import LoadResult


def measured(
    load: Load, *, p50: float = 10, p99: float = 20, cpu: float = 1, lost: int = 0
) -> LoadResult:
    arrived = load.copies - lost
    return LoadResult(
        load=load,
        result=Arrivals(
            expected=load.copies,
            arrived=arrived,
            duplicates=0,
            latency=Latency(p50=p50, p95=p99, p99=p99, maximum=p99),
            per_second=load.copies_per_second,
        ),
        cpu_per_1000={"executor": cpu},
    )


def verdicts(goals: list[Goal]) -> list[str]:
    return [goal.verdict for goal in goals]


def loads(text: str, *, seconds: float = 60) -> list[Load]:
    return parse_loads(text, seconds=seconds)


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert set(verdicts(compare({}))) == {"not measured"}


def test_all_goals_can_be_met_in_one_run() -> None:
    light, rate, few, many = loads("light,1000,burst-1000,burst-10000")
    (history,) = loads("history")
    goals = compare(
        {
            FLOOR: [measured(light), measured(rate), measured(few)],
            PIPELINE: [
                measured(light, p50=13, p99=30),
                measured(rate, p99=250, cpu=1.6),
                measured(few, p99=30),
                measured(many, p99=300),
            ],
            HISTORY: [
                measured(replace_name(history, WITHOUT_PAST), cpu=2),
                measured(replace_name(history, WITH_PAST), cpu=2.2),
            ],
        }
    )

    assert verdicts(goals) == ["met"] * len(goals)


def replace_name(load: Load, name: str) -> Load:
    return Load(
        name=name,
        trades_per_second=load.trades_per_second,
        seconds=load.seconds,
        followers=load.followers,
        kind=load.kind,
    )


def test_a_rate_that_lost_a_copy_or_was_short_proves_nothing() -> None:
    (rate,), (short,), (lower,) = loads("1000"), loads("1000", seconds=20), loads("800")

    rate_goal = compare({PIPELINE: [measured(lower), measured(rate, lost=1)]})[2]
    assert (rate_goal.value, rate_goal.verdict) == (800, "missed")
    assert compare({PIPELINE: [measured(short)]})[2].value == 0


def test_lateness_and_cost_are_those_of_the_wanted_rate_not_of_a_higher_one() -> None:
    rate, higher = loads("1000,1200")

    goals = compare({PIPELINE: [measured(rate, p99=200, cpu=1), measured(higher, p99=900, cpu=3)]})

    assert [goal.value for goal in goals[2:5]] == [1200, 200, 1]


def test_a_burst_that_is_not_complete_has_no_ratio() -> None:
    few, many = loads("burst-1000,burst-10000")

    goals = compare({FLOOR: [measured(few)], PIPELINE: [measured(few), measured(many, lost=1)]})

    assert verdicts(goals[-2:]) == ["met", "not measured"]
