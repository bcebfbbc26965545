"""A follower is halted for a while, and a dead part ends the demo with its reason."""

import asyncio
import sys
from pathlib import Path

import pytest

from cli.demo.session import Pause, run_unless_a_part_dies
from cli.demo.summary import Summary
from shared.domain.follows import Mode
from tools.stack.errors import PartDied
from tools.stack.supervisor import Part, Supervisor


def test_a_follower_is_halted_in_the_middle_and_active_again() -> None:
    pause = Pause("follower:x", trades=10)

    assert [pause.next_mode(made) for made in range(11)] == [
        None,
        None,
        None,
        Mode.HALTED,
        None,
        None,
        Mode.ACTIVE,
        None,
        None,
        None,
        None,
    ]


def test_a_missed_pause_is_not_made_later() -> None:
    pause = Pause("follower:x", trades=10)

    assert pause.next_mode(9) is None


async def never() -> Summary:
    await asyncio.Event().wait()
    raise AssertionError("this event is never set")


async def test_a_part_that_dies_ends_the_work_with_its_log(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        dies = Part(
            name="dies", command=[sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
        )
        await supervisor.start(dies)

        with pytest.raises(PartDied, match=r"exit status 3[\s\S]*the reason"):
            await run_unless_a_part_dies(supervisor, never)


async def test_work_that_fails_because_of_a_dead_part_reports_the_part(tmp_path: Path) -> None:
    async def notices() -> Summary:
        await asyncio.wait({running.ended})
        raise ConnectionError("the other side has ended")

    async with Supervisor(tmp_path) as supervisor:
        running = await supervisor.start(
            Part(name="dies", command=[sys.executable, "-c", "raise SystemExit(3)"])
        )

        with pytest.raises(PartDied):
            await run_unless_a_part_dies(supervisor, notices)


async def test_work_that_fails_for_its_own_reason_raises_it(tmp_path: Path) -> None:
    async def fails() -> Summary:
        raise ConnectionError("our own")

    async with Supervisor(tmp_path) as supervisor:
        with pytest.raises(ConnectionError, match="our own"):
            await run_unless_a_part_dies(supervisor, fails)
