"""A pause in the middle, and a dead part that ends everything with its reason."""

import asyncio
import sys
from pathlib import Path

import pytest

from cli.demo.session import Pause, unless_a_part_dies
from cli.demo.summary import Summary
from shared.domain.follows import Mode
from tools.stack.errors import PartDied
from tools.stack.supervisor import Part, Supervisor


def test_a_follower_is_halted_in_the_middle_and_active_again() -> None:
    pause = Pause("follower:x", trades=10)

    assert [pause.change(made) for made in range(11)] == [
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


def test_a_pause_that_was_missed_is_not_made_up_for() -> None:
    pause = Pause("follower:x", trades=10)

    assert pause.change(9) is None


async def never() -> Summary:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def test_a_part_that_dies_ends_the_work_with_its_log(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        dies = Part(
            name="dies", command=[sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
        )
        await supervisor.start(dies)

        with pytest.raises(PartDied, match=r"exit status 3[\s\S]*the reason"):
            await unless_a_part_dies(supervisor, never)


async def test_work_that_fails_of_a_dead_part_tells_of_the_part(tmp_path: Path) -> None:
    async def notices() -> Summary:
        await asyncio.wait({running.ended})
        raise ConnectionError("somebody has gone")

    async with Supervisor(tmp_path) as supervisor:
        running = await supervisor.start(
            Part(name="dies", command=[sys.executable, "-c", "raise SystemExit(3)"])
        )

        with pytest.raises(PartDied):
            await unless_a_part_dies(supervisor, notices)


async def test_work_that_fails_by_itself_says_so(tmp_path: Path) -> None:
    async def fails() -> Summary:
        raise ConnectionError("our own")

    async with Supervisor(tmp_path) as supervisor:
        with pytest.raises(ConnectionError, match="our own"):
            await unless_a_part_dies(supervisor, fails)
