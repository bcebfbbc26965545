"""A crash happens only where it was armed, and once."""

import signal
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from tests import builders
from tests.crash_matrix.boundaries import BOUNDARIES, PRODUCE, Moment, Point
from tests.crash_matrix.crash_switch import Crash, CrashSwitch
from tests.crash_matrix.launch import BoundaryHooks, call_subjects

BOUNDARY = BOUNDARIES["ingest: before produce CopyIntended"]


class CountingSwitch(CrashSwitch):
    """Counts instead of dying."""

    crashes = 0

    def trigger(self, crash: Crash) -> None:
        self.crashes += 1


class RecordingHooks(BoundaryHooks):
    def __init__(self) -> None:
        super().__init__(CrashSwitch(Path()))
        self.reached: list[Moment] = []

    def reach(self, moment: Moment, call: tuple[Point, object]) -> None:
        self.reached.append(moment)


def test_a_process_reads_the_crash_that_was_armed(tmp_path: Path) -> None:
    crash = Crash(boundary=BOUNDARY.name, keys=frozenset({"0xabc"}), signal=signal.SIGSTOP)

    CrashSwitch(tmp_path).arm(crash)

    assert CrashSwitch(tmp_path).armed_crash() == crash
    assert CrashSwitch(tmp_path).crashed_pid() is None


def test_a_crash_that_another_process_has_triggered_leaves_this_one_alive(tmp_path: Path) -> None:
    crash = Crash(boundary=BOUNDARY.name, keys=frozenset(), signal=signal.SIGKILL)
    switch = CrashSwitch(tmp_path)
    switch.arm(crash)
    (tmp_path / "armed.json").rename(tmp_path / "crashed-4711")

    switch.trigger(crash)

    assert switch.crashed_pid() == 4711
    assert switch.armed_crash() is None


@pytest.mark.parametrize(
    ("moment", "key", "crashes"),
    [(Moment.BEFORE, "own", 1), (Moment.AFTER, "own", 0), (Moment.BEFORE, "0xother", 0)],
)
def test_only_the_armed_moment_of_the_armed_follower_triggers_a_crash(
    tmp_path: Path, moment: Moment, key: str, crashes: int
) -> None:
    message = builders.intended()
    armed_key = message.key().decode().lower() if key == "own" else key
    switch = CountingSwitch(tmp_path)
    switch.arm(Crash(boundary=BOUNDARY.name, keys=frozenset({armed_key}), signal=signal.SIGKILL))

    BoundaryHooks(switch).reach(moment, (BOUNDARY.point, ([message],)))

    assert switch.crashes == crashes


async def test_a_wrapped_coroutine_does_its_work_and_reaches_both_its_moments() -> None:
    hooks, point = RecordingHooks(), Point(service="ingest", name="anything", where=PRODUCE)

    async def twice(_: object, number: int) -> int:
        return 2 * number

    result = await hooks._wrap_function(point, twice)(None, 21)

    assert result == 42
    assert hooks.reached == [Moment.BEFORE, Moment.AFTER]


def test_the_subjects_of_a_call_are_its_messages_partitions_and_words() -> None:
    message = builders.intended()
    key = message.key().decode().lower()

    assert list(call_subjects(([message],))) == [("CopyIntended", key)]
    assert list(call_subjects(({TopicPartition("debts", 3): 17},))) == [("debts", "3")]
    assert list(call_subjects(([3, 5],))) == [("word", "3"), ("word", "5")]
    assert list(call_subjects(([],))) == []
    assert ("word", "0xabc") in list(call_subjects(('{"order": {"maker": "0xAbC"}}',)))
