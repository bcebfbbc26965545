"""The plots show what the kept results say, of the newest run that has it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.unit.bench.test_goals import measured
from tools.bench.goals import FLOOR, PIPELINE, WITH_PAST, WITHOUT_PAST
from tools.bench.loads import HISTORY, parse_loads
from tools.bench.plot_data import Plot, build_plots
from tools.bench.results import build_rows, read_runs

LIGHT, RATE, FEW, MANY = parse_loads("light,200,burst-10,burst-100")


def build_run(at: str, **results: Any) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(json.dumps({"at": at, "commit": "0123456789ab", **results}))
    return run


def find(name: str, plots: list[Plot]) -> Plot:
    return next(plot for plot in plots if plot.name == name)


def test_latency_is_shown_against_rate_and_time_against_followers() -> None:
    run = build_run(
        "2026-11-29T10:00",
        path={
            FLOOR: build_rows([measured(RATE, p50=5, p99=9), measured(LIGHT, p50=1, p99=2)]),
            PIPELINE: build_rows([measured(LIGHT, p50=3, p99=4), measured(FEW, p99=70)]),
        },
    )

    plots = build_plots(hops=[run], histories=[], soaks=[])

    assert {plot.name for plot in plots} == {"latency-by-rate", "time-by-followers"}
    lines = find("latency-by-rate", plots).lines
    assert lines["floor, p50"] == [(50, 1), (200, 5)]
    assert lines["pipeline, p99"] == [(50, 4)]
    assert find("time-by-followers", plots).lines["pipeline"] == [(10, 70)]
    assert "2026-11-29, 0123456" in plots[0].title


def test_a_load_of_which_copies_are_missing_or_doubled_is_not_shown() -> None:
    rows = [
        measured(LIGHT),
        measured(RATE, lost=1),
        measured(FEW, lost=1),
        measured(MANY, doubled=1),
    ]
    run = build_run("2026-11-29", path={PIPELINE: build_rows(rows)})

    (plot,) = build_plots(hops=[run], histories=[], soaks=[])

    assert plot.name == "latency-by-rate"
    assert [x for x, _ in plot.lines["pipeline, p50"]] == [50]


def test_each_plot_is_of_the_newest_run_that_has_figures_for_it() -> None:
    def run(at: str, *rows: Any) -> dict[str, Any]:
        return build_run(at, path={PIPELINE: build_rows(rows)})

    plots = build_plots(
        hops=[run("2026-11-28", measured(FEW)), run("2026-11-29", measured(LIGHT))],
        histories=[],
        soaks=[],
    )

    assert "2026-11-29" in find("latency-by-rate", plots).title
    assert "2026-11-28" in find("time-by-followers", plots).title


def test_cost_is_shown_against_the_old_rows_of_each_filled_database() -> None:
    (history,) = parse_loads("history")

    def fill(rows: int, cpu: float) -> dict[str, Any]:
        loads = [asdict(measured(history)) | {"cpu": cpu} for _ in range(2)]
        loads[0]["load"]["name"], loads[1]["load"]["name"] = WITHOUT_PAST, WITH_PAST
        loads[0]["cpu"] = 1.0
        return {"rows": rows, "loads": loads}

    several = build_run("2026-11-29", histories=[fill(2_000_000, 1.1), fill(10_000_000, 1.3)])
    one = build_run("2026-11-28", rows_of_history=500, path={HISTORY: fill(500, 1.2)["loads"]})

    assert find("cost-by-history", build_plots(hops=[one], histories=[several], soaks=[])).lines[
        "pipeline"
    ] == [(0, 1.0), (2_000_000, 1.1), (10_000_000, 1.3)]
    assert find("cost-by-history", build_plots(hops=[one], histories=[], soaks=[])).lines[
        "pipeline"
    ] == [(0, 1.0), (500, 1.2)]


def test_memory_is_shown_by_process_and_minute() -> None:
    run = build_run(
        "2026-11-29",
        effort={"copies_per_second": 300},
        samples=[
            {"second": 0, "memory_mb": {"executor": 100}},
            {"second": 60, "memory_mb": {"executor": 110, "ingest": 50}},
        ],
    )

    (plot,) = build_plots(hops=[], histories=[], soaks=[run])

    assert plot.lines == {"executor": [(0, 100), (1, 110)], "ingest": [(0, 0), (1, 50)]}
    assert "300 copies/s" in plot.title


def test_no_results_are_no_plots() -> None:
    assert build_plots(hops=[], histories=[], soaks=[]) == []


def test_a_result_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "hops-1.json").write_text('{"at": "1"}')
    (tmp_path / "hops-2.json").write_text('{"at": ')
    (tmp_path / "soak-3.json").write_text('{"at": "3"}')

    assert read_runs(tmp_path, "hops") == [{"at": "1"}]
