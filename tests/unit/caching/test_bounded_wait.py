"""Who is asked and does not answer costs its callers one wait, not one each."""

import asyncio
from datetime import timedelta

import pytest

from shared.caching.bounded_wait import BoundedWait
from shared.testing.waiting import eventually
from tests.builders import NOON, seconds
from tests.fakes import Clock
from tests.unit.caching.test_caching import Source

LONG, INSTANT = seconds(600), timedelta(microseconds=1)
PAUSE = seconds(30)


class Asked:
    """A source behind a bounded wait."""

    def __init__(self, *, max_wait: timedelta) -> None:
        self.clock, self.source = Clock(NOON), Source()
        self.wait = BoundedWait(self.source.fetch, max_wait=max_wait, pause=PAUSE, now=self.clock)

    async def ask(self, key: str) -> str | None:
        return await self.wait(key)

    async def end_requests(self) -> None:
        self.source.open.set()
        await eventually(lambda: not any(map(self.wait.is_running, self.source.requested)))


async def test_an_answer_in_time_is_returned() -> None:
    asked = Asked(max_wait=LONG)
    asked.source.open.set()

    assert [await asked.ask("a"), await asked.ask("b")] == ["a 1", "b 2"]


async def test_a_failure_in_time_is_raised() -> None:
    asked = Asked(max_wait=LONG)
    asked.source.open.set()
    asked.source.fails = True

    with pytest.raises(ConnectionError):
        await asked.ask("a")


async def test_a_request_goes_on_without_its_callers() -> None:
    asked = Asked(max_wait=INSTANT)

    assert await asked.ask("a") is None
    assert asked.wait.is_running("a")
    assert await asked.ask("a") is None
    assert asked.source.requested == ["a"]
    await asked.end_requests()
    assert not asked.wait.is_running("a")


async def test_nobody_waits_after_a_request_without_an_answer_in_time() -> None:
    asked = Asked(max_wait=INSTANT)
    assert await asked.ask("a") is None
    asked.wait.max_wait = LONG

    assert await asked.ask("b") is None
    assert asked.source.requested == ["a", "b"]
    await asked.end_requests()


async def test_callers_wait_again_once_a_request_ended_in_time() -> None:
    asked = Asked(max_wait=INSTANT)
    assert await asked.ask("a") is None
    asked.wait.max_wait = LONG
    await asked.end_requests()

    assert await asked.ask("b") == "b 2"


async def test_a_request_that_ended_late_is_no_reason_to_wait() -> None:
    asked = Asked(max_wait=INSTANT)
    assert await asked.ask("a") is None
    asked.clock.now += seconds(1)
    await asked.end_requests()

    assert await asked.ask("b") is None


async def test_callers_wait_again_after_the_pause() -> None:
    asked = Asked(max_wait=INSTANT)
    assert await asked.ask("a") is None
    asked.wait.max_wait = LONG

    asked.clock.now += PAUSE
    waiting = asyncio.create_task(asked.ask("b"))
    await eventually(lambda: "b" in asked.source.requested)
    asked.source.open.set()

    assert await waiting == "b 2"
