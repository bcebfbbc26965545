"""What a long run shows, by values."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bench.figures import Latency
from tools.bench.sizes import compute_growth_per_thousand, read_topic_sizes
from tools.bench.trends import Growth, Minute, Sample, compute_growth, compute_rise, judge


def samples(*memory: float, seconds: float = 10) -> list[Sample]:
    return [
        Sample(second=number * seconds, memory_mb={"executor": each}, cpu_seconds={})
        for number, each in enumerate(memory)
    ]


def minutes(*p50: float, lost: int = 0) -> list[Minute]:
    return [
        Minute(
            minute=number + 1,
            expected=100,
            arrived=100 - lost,
            duplicates=0,
            latency=Latency(p50=each, p95=each, p99=each, maximum=each),
            cpu_per_1000={"executor": each},
        )
        for number, each in enumerate(p50)
    ]


def test_memory_that_rises_all_the_time_grows() -> None:
    (growth,) = compute_growth(samples(*(100 + number for number in range(60))))

    assert growth.grows
    assert growth.mb_per_hour == pytest.approx(360)
    assert (growth.first_mb, growth.last_mb) == (100, 159)


def test_memory_that_fills_in_the_first_half_does_not_grow() -> None:
    (growth,) = compute_growth(samples(*range(100, 130), *([130] * 30)))

    assert not growth.grows


@given(st.floats(1, 1e4), st.lists(st.floats(-0.5, 0.5), min_size=8, max_size=50))
def test_noise_does_not_grow(base: float, noise: list[float]) -> None:
    (growth,) = compute_growth(samples(*(base + each for each in noise)))

    assert not growth.grows


def test_a_short_run_tells_nothing() -> None:
    assert compute_growth(samples(100, 200, 300)) == []
    assert compute_rise([1, 2]) is None
    assert "too short to tell whether memory grows" in judge(minutes(1), [])


def test_the_last_third_is_compared_with_the_first() -> None:
    assert compute_rise([10, 10, 99, 99, 15, 15]) == pytest.approx(1.5)


def test_the_first_minute_does_not_count_as_a_rise() -> None:
    verdicts = judge(minutes(50, 10, 10, 10, 10, 10, 10), [])

    assert "p50 did not rise: the last third was 1.00 times the first" in verdicts
    assert verdicts[0] == "every copy arrived, once"


def test_lost_copies_risen_latency_and_growing_processes_are_said() -> None:
    growing = Growth(process="pricer", first_mb=1, last_mb=99, mb_per_hour=12, grows=True)
    steady = Growth(process="kafka", first_mb=1, last_mb=1, mb_per_hour=0, grows=False)

    verdicts = judge(minutes(1, 10, 10, 15, 15, lost=3), [growing, steady])

    assert verdicts[0] == "15 copies did not arrive, 0 arrived twice"
    assert verdicts[1].startswith("p50 rose")
    assert verdicts[-1] == "over the second half grew: pricer by 12 MB an hour"


def test_growth_is_per_thousand_copies_and_the_largest_is_first() -> None:
    growth = compute_growth_per_thousand(
        {"a": 100, "b": 100, "same": 7}, {"a": 300, "b": 900, "same": 7, "new": 500}, copies=2000
    )

    assert list(growth.items()) == [("b", 400), ("new", 250), ("a", 100)]
    assert compute_growth_per_thousand({}, {"a": 1}, copies=0) == {}


def test_a_topic_is_as_large_as_the_records_of_its_partitions(tmp_path: Path) -> None:
    for partition, size in (("copy-intents-0", 10), ("copy-intents-12", 5), ("debts-0", 1)):
        folder = tmp_path / "run-x" / "kafka-1" / partition
        folder.mkdir(parents=True)
        (folder / "0000.log").write_bytes(b"." * size)
        (folder / "0000.index").write_bytes(b"." * 1000)

    assert read_topic_sizes(tmp_path) == {"copy-intents": 15, "debts": 1}
