"""A replay reads a topic again, within bounds and without a commit."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from shared.streams.replay import Bound, replay
from tests.integration.streams.loop_harness import LoopHarness

pytestmark = pytest.mark.integration

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def write_records(harness: LoopHarness) -> None:
    """Write one record per minute from noon on, to the four partitions in turn."""
    async with AIOKafkaProducer(**harness.settings.client()) as producer:
        for minute in range(20):
            at = int((NOON + timedelta(minutes=minute)).timestamp() * 1000)
            await producer.send_and_wait(
                harness.request.topic,
                b"%d" % minute,
                key=b"k",
                partition=minute % 4,
                timestamp_ms=at,
            )


async def replay_minutes(
    harness: LoopHarness,
    *,
    since: Bound = None,
    until: Bound = None,
    partitions: tuple[int, ...] | None = None,
) -> list[int]:
    replayed = replay(
        harness.settings, harness.request.topic, since=since, until=until, partitions=partitions
    )
    return [int(record.value) async for record in replayed]


async def test_all_records_are_in_the_order_of_time_across_partitions(harness: LoopHarness) -> None:
    await write_records(harness)

    assert await replay_minutes(harness) == list(range(20))


async def test_a_replay_from_a_time_up_to_another(harness: LoopHarness) -> None:
    await write_records(harness)

    assert await replay_minutes(
        harness, since=NOON + timedelta(minutes=5), until=NOON + timedelta(minutes=9)
    ) == [5, 6, 7, 8]
    assert await replay_minutes(harness, since=NOON + timedelta(hours=1)) == []


async def test_a_replay_from_an_offset_up_to_another(harness: LoopHarness) -> None:
    await write_records(harness)

    assert await replay_minutes(harness, since=1, until=3, partitions=(2,)) == [6, 10]


async def test_a_replay_commits_nothing_and_ends_on_an_empty_topic(harness: LoopHarness) -> None:
    assert await replay_minutes(harness) == []
    assert await harness.fetch_committed() == {}


async def test_a_topic_that_does_not_exist_is_named_in_the_error(harness: LoopHarness) -> None:
    with pytest.raises(LookupError, match="there is no topic nonesuch"):
        [record async for record in replay(harness.settings, "nonesuch")]
