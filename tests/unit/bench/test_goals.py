"""Goals are met or missed by what was measured, and by nothing that was not."""

from dataclasses import replace
from typing import Any

import pytest

from tools.bench.figures import Arrivals, Latency
from tools.bench.goals import FLOOR, PIPELINE, WITH_PAST, WITHOUT_PAST, Goal, compare
from tools.bench.loads import HISTORY, Load, parse_loads
from tools.bench.path import Confirmations, LoadResult


def measured(
    load: Load,
    *,
    p50: float = 10,
    p99: float = 20,
    cpu: float = 1,
    lost: int = 0,
    doubled: int = 0,
    unconfirmed: int = 0,
) -> LoadResult:
    arrived = load.copies - lost
    return LoadResult(
        load=load,
        result=Arrivals(
            expected=load.copies,
            arrived=arrived,
            duplicates=doubled,
            latency=Latency(p50=p50, p95=p99, p99=p99, maximum=p99),
            per_second=load.copies_per_second,
        ),
        cpu_per_1000={"executor": cpu},
        confirmations=Confirmations(confirmed=arrived - unconfirmed, latency=None),
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


def test_what_copies_cost_is_not_known_before_all_of_them_are_confirmed() -> None:
    (rate,) = loads("1000")
    late = measured(rate, unconfirmed=1)

    for row in (late, replace(late, confirmations=None)):
        goals = compare({PIPELINE: [row]})
        assert [goal.verdict for goal in goals[2:5]] == ["met", "met", "not measured"]


@pytest.mark.parametrize("of_first", [True, False])
@pytest.mark.parametrize("fault", [{"lost": 1}, {"doubled": 1}])
def test_a_load_that_is_not_complete_has_no_ratio(fault: dict[str, int], of_first: bool) -> None:
    light, history = (loads(name)[0] for name in ("light", "history"))
    first, second = (fault, {}) if of_first else ({}, fault)

    goals = compare(
        {FLOOR: [measured(light, **first)], PIPELINE: [measured(light, **second)]}
        | {HISTORY: history_rows(history, first, second)}
    )

    assert [goals[n].verdict for n in (0, 1, 5)] == ["not measured"] * 3


@pytest.mark.parametrize("of_first", [True, False])
def test_history_is_not_compared_before_all_copies_are_confirmed(of_first: bool) -> None:
    faults: list[dict[str, Any]] = [{"unconfirmed": 1}, {}]
    rows = history_rows(loads("history")[0], *(faults if of_first else faults[::-1]))

    assert compare({HISTORY: rows})[5].verdict == "not measured"


def history_rows(
    load: Load, without: dict[str, Any], with_past: dict[str, Any]
) -> list[LoadResult]:
    return [
        measured(replace_name(load, WITHOUT_PAST), **without),
        measured(replace_name(load, WITH_PAST), **with_past),
    ]
