"""What a long run keeps."""

import json
from typing import Any

from tools.bench.results import Run
from tools.bench.soak import (
    Effort,
    Soak,
    SoakResult,
    build_growth_table,
    build_minutes_table,
    parse_options,
)
from tools.bench.trends import Growth, Minute

MINUTE = Minute(minute=1, expected=10, arrived=0, duplicates=0, latency=None, cpu_per_1000={})
GROWTH = Growth(process="pricer", first_mb=1, last_mb=2, mb_per_hour=3, grows=False)


def test_all_of_a_run_is_kept(monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setattr("tools.bench.results.QUICK_FOLDER", tmp_path)
    run = Run("soak", quick=True)
    effort = Effort(minutes=1, copies_per_second=10)
    soak = Soak(None, None, effort, None, run)  # type: ignore[arg-type]

    soak.write()
    assert json.loads(run.file.read_text())["verdicts"] == []
    soak.write(SoakResult(minutes=[MINUTE], growth=[GROWTH], confirmations=None, left_behind={}))

    kept = json.loads(run.file.read_text())
    assert kept["effort"]["minutes"] == 1
    assert [minute["arrived"] for minute in kept["minutes"]] == [0]
    assert kept["verdicts"][0] == "10 copies did not arrive, 0 arrived twice"


def test_a_minute_without_copies_is_shown_without_figures() -> None:
    cells = {str(c.header): list(c.cells) for c in build_minutes_table([MINUTE]).columns}

    assert (cells["p99 ms"], cells["arrived"]) == (["-"], ["0 of 10"])
    assert list(build_growth_table([GROWTH]).columns[3].cells) == ["+3.0"]


def test_a_quick_run_has_short_minutes() -> None:
    assert parse_options(["--quick", "--rate", "5"]).effort == Effort(
        minutes=3, copies_per_second=5, minute_s=5, sample_s=1
    )
    assert parse_options([]).effort == Effort(minutes=30, copies_per_second=300)
