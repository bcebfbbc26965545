"""The next attempt of an exit is published when it is due, and once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters import exits
from services.preflight.adapters.exits import ExitFeed
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import Exit, ExitState
from shared.db.engine import open_engine
from shared.domain.follows import GLOBAL, Mode, follower_scope
from shared.domain.ids import continuation_id
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyIntended
from shared.testing.waiting import eventually
from tests.builders import (
    NOON,
    OTHER_PROXY,
    PROXY,
    an_intent,
    controls,
    refused,
    seconds,
    shares,
)
from tests.fakes import FixedControls
from tests.patience import patient_settings

pytestmark = pytest.mark.integration

NOW = NOON + seconds(60)
EXPIRY = NOON + seconds(600)
MIN_CLOCK_READINGS = 20


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


async def record_exit(
    engine: AsyncEngine, number: int, *, proxy: str = PROXY, **changes: Any
) -> Exit:
    """Record an exit that has sold 4 of 10 shares in two attempts, and whose third is due."""
    intent = an_intent(intent_id=f"{number:032x}", side=Side.SELL, proxy=proxy)
    exit_ = Exit(
        intent=intent,
        base_shares=shares(10),
        shares=shares(10),
        sold_shares=shares(4),
        attempts=2,
        next_attempt_at=NOW,
        expires_at=EXPIRY,
    )
    changed = replace(exit_, **changes)
    await PostgresVerdicts(engine).record(refused(intent), changed)
    return changed


class Recorder:
    """Keeps what a feed publishes, and counts how often it reads the clock."""

    def __init__(self, now: datetime) -> None:
        self.published: list[CopyIntended] = []
        self.clock_readings, self._now = 0, now

    async def publish(self, message: Message) -> None:
        assert isinstance(message, CopyIntended)
        self.published.append(message)

    def clock(self) -> datetime:
        """Read at least once in each poll."""
        self.clock_readings += 1
        return self._now


async def published_by_feed(
    engine: AsyncEngine,
    *,
    owns: Callable[[str], bool] = lambda _: True,
    modes: dict[str, Mode] | None = None,
    now: datetime = NOW,
    until: int = 0,
) -> list[CopyIntended]:
    """What the feed publishes in some polls, ``until`` so many messages at least."""
    recorder = Recorder(now)
    feed = ExitFeed(
        engine,
        FixedControls(controls(modes=modes)),
        owns=owns,
        now=recorder.clock,
        poll_interval=seconds(0),
    )
    running = asyncio.create_task(feed(recorder.publish))
    await eventually(
        lambda: recorder.clock_readings >= MIN_CLOCK_READINGS and len(recorder.published) >= until,
        what="polls of the feed",
    )
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return recorder.published


async def test_an_attempt_is_published_once_and_after_a_restart_with_the_same_id(
    engine: AsyncEngine,
) -> None:
    exit_ = await record_exit(engine, 1)

    first, again = await published_by_feed(engine), await published_by_feed(engine)

    assert [(each.intent_id, each.intent.shares, each.intent.continues) for each in first] == [
        (continuation_id(exit_.exit_id, 2), shares(6), exit_.exit_id)
    ]
    assert [each.message_id for each in again] == [each.message_id for each in first]


async def test_only_attempts_that_are_due_are_published(engine: AsyncEngine) -> None:
    await record_exit(engine, 1, next_attempt_at=NOW + seconds(1))
    await record_exit(engine, 2, next_attempt_at=None)
    await record_exit(engine, 3, next_attempt_at=None, state=ExitState.UNSOLD)
    due = await record_exit(engine, 4)

    assert [each.intent.continues for each in await published_by_feed(engine)] == [due.exit_id]


async def test_exits_that_wait_do_not_hold_up_others(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One follower is halted with more due exits than a poll publishes."""
    monkeypatch.setattr(exits, "MAX_ATTEMPTS_PER_POLL", 2)
    for number in range(1, 6):
        await record_exit(engine, number, next_attempt_at=NOON)
    theirs = [await record_exit(engine, number, proxy=OTHER_PROXY) for number in range(6, 11)]

    published = await published_by_feed(
        engine, modes={follower_scope(PROXY): Mode.HALTED}, until=len(theirs)
    )

    assert [each.intent.continues for each in published] == [each.exit_id for each in theirs]


@pytest.mark.parametrize(("mode", "published"), [(Mode.HALTED, 0), (Mode.REDUCING, 1)])
async def test_an_attempt_waits_while_halted_and_is_published_while_reducing(
    engine: AsyncEngine, mode: Mode, published: int
) -> None:
    await record_exit(engine, 1)

    assert len(await published_by_feed(engine, modes={GLOBAL: mode})) == published


async def test_an_exit_that_expires_while_halted_gets_its_last_attempt(
    engine: AsyncEngine,
) -> None:
    """Preflight refuses it and records that the exit is unsold."""
    await record_exit(engine, 1)

    assert len(await published_by_feed(engine, modes={GLOBAL: Mode.HALTED}, now=EXPIRY)) == 1


async def test_an_attempt_that_was_judged_meanwhile_is_not_published_under_the_next_number(
    engine: AsyncEngine,
) -> None:
    """Another instance judged it after this one had found it due: it may be under way."""
    await record_exit(engine, 1)
    due = await exits.load_due_exits(engine, now=NOW)
    found_before = [replace(each, attempts=each.attempts - 1) for each in due]

    assert [each.attempts for each in await exits.load_exits(engine, due)] == [2]
    assert await exits.load_exits(engine, found_before) == []


async def test_the_exits_of_other_instances_are_not_published(engine: AsyncEngine) -> None:
    await record_exit(engine, 1)
    theirs = await record_exit(engine, 2, proxy=OTHER_PROXY)

    published = await published_by_feed(engine, owns=lambda proxy: proxy == OTHER_PROXY)

    assert [each.intent.continues for each in published] == [theirs.exit_id]
