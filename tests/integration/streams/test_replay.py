"""Reading a topic again."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from shared.streams.replay import Bound, replay
from tests.integration.streams.loop_harness import LoopHarness

pytestmark = pytest.mark.integration

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


async def written(bench: LoopHarness) -> None:
    """A record a minute from noon on, in turn on the four partitions."""
    async with AIOKafkaProducer(**bench.settings.client()) as producer:
        for minute in range(20):
            at = int((NOON + timedelta(minutes=minute)).timestamp() * 1000)
            await producer.send_and_wait(
                bench.heard.topic, b"%d" % minute, key=b"k", partition=minute % 4, timestamp_ms=at
            )


async def minutes(
    bench: LoopHarness,
    *,
    since: Bound = None,
    until: Bound = None,
    partitions: tuple[int, ...] | None = None,
) -> list[int]:
    replayed = replay(
        bench.settings, bench.heard.topic, since=since, until=until, partitions=partitions
    )
    return [int(record.value) async for record in replayed]


async def test_everything_comes_in_the_order_of_time_across_partitions(bench: LoopHarness) -> None:
    await written(bench)

    assert await minutes(bench) == list(range(20))


async def test_a_replay_from_a_time_up_to_another(bench: LoopHarness) -> None:
    await written(bench)

    assert await minutes(
        bench, since=NOON + timedelta(minutes=5), until=NOON + timedelta(minutes=9)
    ) == [5, 6, 7, 8]
    assert await minutes(bench, since=NOON + timedelta(hours=1)) == []


async def test_a_replay_from_an_offset_up_to_another(bench: LoopHarness) -> None:
    await written(bench)

    assert await minutes(bench, since=1, until=3, partitions=(2,)) == [6, 10]


async def test_a_replay_commits_nothing_and_an_empty_topic_ends_at_once(bench: LoopHarness) -> None:
    assert await minutes(bench) == []
    assert await bench.committed() == {}


async def test_a_topic_that_does_not_exist_is_said_so(bench: LoopHarness) -> None:
    with pytest.raises(LookupError, match="there is no topic nonesuch"):
        [record async for record in replay(bench.settings, "nonesuch")]
