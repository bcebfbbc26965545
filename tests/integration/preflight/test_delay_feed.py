"""A delayed entry is published again when it is due, once, and in its turn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.preflight.adapters import delays
from services.preflight.adapters.delays import DelayFeed
from services.preflight.adapters.verdicts import PostgresVerdicts
from services.preflight.decisions import DelayedEntry
from shared.db.engine import open_engine
from shared.domain.money import Side
from shared.messages.base import Message
from shared.messages.intents import CopyIntended, Intent
from shared.messages.refusals import Refusal
from shared.testing.waiting import eventually
from tests.builders import NOON, OTHER_PROXY, PROXY, an_intent, refused, seconds
from tests.integration.preflight.test_exit_feed import MIN_CLOCK_READINGS, Recorder
from tests.patience import patient_settings

pytestmark = pytest.mark.integration


@pytest.fixture
async def engine(migrated_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(patient_settings(migrated_database_url))
    yield engine
    await engine.dispose()


async def delay(
    engine: AsyncEngine, number: int, *, due_at: datetime = NOON, proxy: str = PROXY
) -> Intent:
    intent = an_intent(intent_id=f"{number:032x}", proxy=proxy)
    entry = DelayedEntry(
        intent=intent, due_at=due_at, expires_at=NOON + seconds(60), reason=Refusal.TOO_MANY_ENTRIES
    )
    assert await PostgresVerdicts(engine).delay(entry) is None
    return intent


async def published_by_feed(
    engine: AsyncEngine, *, owns: Callable[[str], bool] = lambda _: True, until: int = 0
) -> list[CopyIntended]:
    """What the feed publishes at noon in some polls, ``until`` so many messages at least."""
    recorder = Recorder(NOON)
    feed = DelayFeed(engine, owns=owns, now=recorder.clock, poll_interval=seconds(0))
    running = asyncio.create_task(feed(recorder.publish))
    await eventually(
        lambda: recorder.clock_readings >= MIN_CLOCK_READINGS and len(recorder.published) >= until,
        what="polls of the feed",
    )
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return recorder.published


async def test_the_same_intent_is_published_once_and_again_after_a_restart(
    engine: AsyncEngine,
) -> None:
    intent = await delay(engine, 1)

    first, again = await published_by_feed(engine), await published_by_feed(engine)

    assert [each.intent for each in first] == [intent]
    assert [each.message_id for each in again] == [f"{intent.intent_id}:intended"]


async def test_those_that_are_due_are_published_in_the_order_of_their_delay(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays, "MAX_ENTRIES_UNDER_WAY", 2)
    monkeypatch.setattr(delays, "UNDER_WAY_FOR", seconds(0))
    ours = [await delay(engine, number, due_at=NOON - seconds(number)) for number in (3, 1, 2)]
    await delay(engine, 4, due_at=NOON + seconds(1))
    await delay(engine, 5, proxy=OTHER_PROXY)

    published = await published_by_feed(engine, owns=lambda proxy: proxy == PROXY, until=3)

    assert [each.intent_id for each in published] == [each.intent_id for each in ours]


async def test_no_more_are_published_than_may_wait_for_their_verdict(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays, "MAX_ENTRIES_UNDER_WAY", 2)
    entries = [await delay(engine, number) for number in (1, 2, 3)]
    recorder = Recorder(NOON)
    feed = DelayFeed(engine, owns=lambda _: True, now=recorder.clock, poll_interval=seconds(0))

    await feed._poll(recorder.publish)
    await feed._poll(recorder.publish)
    assert [each.intent for each in recorder.published] == entries[:2]

    await PostgresVerdicts(engine).record(refused(entries[0]))
    await feed._poll(recorder.publish)
    assert [each.intent for each in recorder.published] == entries


async def test_one_that_gets_no_verdict_in_time_holds_up_no_other(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays, "MAX_ENTRIES_UNDER_WAY", 1)
    moment = [NOON]
    published: list[Message] = []

    async def publish(message: Message) -> None:
        published.append(message)

    feed = DelayFeed(engine, owns=lambda _: True, now=lambda: moment[0], poll_interval=seconds(0))
    for number in (1, 2):
        await delay(engine, number)
        await feed._poll(publish)
    assert len(published) == 1

    moment[0] += delays.UNDER_WAY_FOR
    await feed._poll(publish)
    assert len(published) == 2


async def test_an_entry_with_a_verdict_is_not_published(engine: AsyncEngine) -> None:
    intent = await delay(engine, 1)
    await PostgresVerdicts(engine).record(refused(intent))

    assert await published_by_feed(engine) == []


async def test_an_entry_that_was_let_go_is_published_until_its_verdict_was_repeated(
    engine: AsyncEngine,
) -> None:
    intent = await delay(engine, 1, due_at=NOON + seconds(30))
    verdicts, sale = PostgresVerdicts(engine), an_intent(intent_id=f"{2:032x}", side=Side.SELL)
    let_go = refused(intent, reason=Refusal.EXIT_CAME_FIRST)
    await verdicts.record(refused(sale), let_go=[let_go])

    first, again = await published_by_feed(engine), await published_by_feed(engine)

    assert [each.intent for each in (*first, *again)] == [intent, intent]
    entry = DelayedEntry(
        intent=intent,
        due_at=NOON + seconds(60),
        expires_at=NOON + seconds(60),
        reason=Refusal.TOO_MANY_ENTRIES,
    )
    assert await verdicts.delay(entry) == let_go
    assert await published_by_feed(engine) == []


async def test_an_entry_that_is_delayed_again_is_published_again(engine: AsyncEngine) -> None:
    recorder = Recorder(NOON)
    feed = DelayFeed(engine, owns=lambda _: True, now=recorder.clock, poll_interval=seconds(0))
    running = asyncio.create_task(feed(recorder.publish))
    await delay(engine, 1)
    await eventually(lambda: len(recorder.published) == 1, what="the first publication")

    await delay(engine, 1, due_at=NOON - seconds(1))
    await eventually(lambda: len(recorder.published) == 2, what="the second publication")

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert len({each.intent_id for each in recorder.published}) == 1
