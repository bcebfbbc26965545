"""The declared topics are applied to real Kafka."""

import uuid
from datetime import timedelta

import pytest
from aiokafka.errors import KafkaTimeoutError

from shared.streams import topics
from shared.streams.settings import KafkaSettings
from shared.streams.topics import Topic, apply, inspect
from tests.integration.streams.loop_harness import PARTITIONS

pytestmark = pytest.mark.integration


async def test_topics_are_created_altered_and_then_left_alone(settings: KafkaSettings) -> None:
    name = f"orders-{uuid.uuid4().hex[:8]}"
    declared = [
        Topic(name=name, key="proxy", retention=timedelta(hours=1)),
        Topic(name=f"{name}-2", key="proxy", retention=timedelta(hours=1)),
    ]

    planned = await inspect(settings, declared)
    assert [creation.name for creation in planned.creations] == [name, f"{name}-2"]
    assert await inspect(settings, declared) == planned, "an inspection changes nothing"
    assert await apply(settings, declared) == planned
    assert (await inspect(settings, declared)).is_empty

    longer = [
        Topic(
            name=name,
            key="proxy",
            retention=timedelta(hours=2),
            compacted=True,
            max_message_bytes=2_000_000,
        ),
        declared[1],
    ]
    altered = await apply(settings, longer)
    assert [alteration.changed for alteration in altered.alterations] == [
        {
            "cleanup.policy": "compact,delete",
            "retention.ms": "7200000",
            "max.message.bytes": "2000000",
        }
    ]
    assert (await inspect(settings, longer)).is_empty


async def test_the_cluster_says_for_how_long_it_may_deliver_a_record(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its segment has ended, and for the retention after that."""
    name = f"orders-{uuid.uuid4().hex[:8]}"
    declared = [
        Topic(name=name, key="proxy", retention=timedelta(hours=1)),
        Topic(name=f"{name}-2", key="proxy", retention=-timedelta(milliseconds=1)),
        Topic(name=f"{name}-missing", key="proxy", retention=timedelta(hours=1)),
    ]
    await apply(settings, declared[:2])
    monkeypatch.setattr(topics, "TOPICS", tuple(declared))

    assert await topics.fetch_lifetimes(settings) == {
        name: timedelta(days=7, hours=1),
        f"{name}-2": None,
    }


async def test_partitions_of_an_existing_topic_are_never_changed(settings: KafkaSettings) -> None:
    declared = [
        Topic(name=f"orders-{uuid.uuid4().hex[:8]}", key="proxy", retention=timedelta(hours=1))
    ]
    await apply(settings, declared)
    more = settings.model_copy(update={"partitions": 2 * PARTITIONS})

    planned = await apply(more, declared)

    assert len(planned.refusals) == 1
    assert await inspect(more, declared) == planned, "still refused"
    assert (await inspect(settings, declared)).is_empty, "still as it was"


async def test_a_change_that_the_brokers_do_not_show_is_an_error_and_not_a_success(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller acknowledges a change before the brokers show it."""

    async def acknowledge_only(*_: object) -> None: ...

    declared = [
        Topic(name=f"orders-{uuid.uuid4().hex[:8]}", key="proxy", retention=timedelta(hours=1))
    ]
    monkeypatch.setattr(topics, "_create", acknowledge_only)
    monkeypatch.setattr(topics, "IN_EFFECT_TIMEOUT_S", 0.5)

    with pytest.raises(KafkaTimeoutError, match="Run `slipstream topics` to see what differs"):
        await apply(settings, declared)
