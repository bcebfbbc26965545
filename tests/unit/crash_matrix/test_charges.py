"""A crash strikes what it was armed for, and once."""

import signal
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from tests import builders
from tests.crash_matrix.boundaries import BOUNDARIES, PRODUCE, Moment, Point
from tests.crash_matrix.charges import Charge, Charges
from tests.crash_matrix.launch import Crossing, told

BOUNDARY = BOUNDARIES["ingest: before produce CopyIntended"]


class Counting(Charges):
    """Counts instead of dying."""

    struck = 0

    def strike(self, charge: Charge) -> None:
        self.struck += 1


def armed(folder: Path, *keys: str) -> Counting:
    charges = Counting(folder)
    charges.arm(Charge(boundary=BOUNDARY.name, keys=frozenset(keys), signal=signal.SIGKILL))
    return charges


def test_what_was_armed_is_what_a_process_reads(tmp_path: Path) -> None:
    charge = Charge(boundary=BOUNDARY.name, keys=frozenset({"0xabc"}), signal=signal.SIGSTOP)

    Charges(tmp_path).arm(charge)

    assert Charges(tmp_path).armed() == charge
    assert Charges(tmp_path).victim() is None


def test_a_charge_that_another_process_has_taken_lets_this_one_live(tmp_path: Path) -> None:
    charge = Charge(boundary=BOUNDARY.name, keys=frozenset(), signal=signal.SIGKILL)
    charges = Charges(tmp_path)
    charges.arm(charge)
    (tmp_path / "armed.json").rename(tmp_path / "struck-4711")

    charges.strike(charge)

    assert charges.victim() == 4711
    assert charges.armed() is None


@pytest.mark.parametrize(
    ("moment", "key", "struck"),
    [(Moment.BEFORE, "own", 1), (Moment.AFTER, "own", 0), (Moment.BEFORE, "0xother", 0)],
)
def test_only_the_armed_moment_of_the_armed_follower_is_struck(
    tmp_path: Path, moment: Moment, key: str, struck: int
) -> None:
    message = builders.intended()
    charges = armed(tmp_path, message.key().decode().lower() if key == "own" else key)

    Crossing(charges).passes(moment, (BOUNDARY.point, ([message],)))

    assert charges.struck == struck


async def test_a_wrapped_coroutine_does_its_work_and_passes_both_its_moments() -> None:
    passed: list[Moment] = []

    class Listening(Crossing):
        def passes(self, moment: Moment, call: tuple[Point, object]) -> None:
            passed.append(moment)

    async def twice(_: object, number: int) -> int:
        return 2 * number

    point = Point(service="ingest", name="anything", where=PRODUCE)

    assert await Listening(Charges(Path()))._wrapped(point, twice)(None, 21) == 42
    assert passed == [Moment.BEFORE, Moment.AFTER]


def test_a_call_tells_whose_it_is() -> None:
    message = builders.intended()
    key = message.key().decode().lower()

    assert list(told(([message],))) == [("CopyIntended", key)]
    assert list(told(({TopicPartition("debts", 3): 17},))) == [("debts", "3")]
    assert list(told(([3, 5],))) == [("word", "3"), ("word", "5")]
    assert list(told(([],))) == []
    assert ("word", "0xabc") in list(told(('{"order": {"maker": "0xAbC"}}',)))
