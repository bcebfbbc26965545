"""A harness for each test, with topics and a consumer group of its own."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.streams.producer import MAX_REQUEST_BYTES, Producer
from shared.streams.settings import KafkaSettings
from tests.integration.streams.loop_harness import (
    PARTITIONS,
    LoopHarness,
    build_message_type,
    create_topics,
)


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    return fast_settings(kafka)


def fast_settings(bootstrap_servers: str) -> KafkaSettings:
    """Production settings with the shortest timeouts that Kafka allows, and no long intervals."""
    return KafkaSettings(
        bootstrap_servers=bootstrap_servers,
        session_timeout_ms=6_000,
        revocation_timeout_ms=1_000,
        drain_timeout_ms=1_000,
        commit_interval_ms=50,
        fetch_max_wait_ms=100,
        partitions=PARTITIONS,
    )


@pytest.fixture
async def harness(settings: KafkaSettings) -> AsyncIterator[LoopHarness]:
    async with running_harness(settings) as harness:
        yield harness


@asynccontextmanager
async def running_harness(
    settings: KafkaSettings, *, replicas: int = 1
) -> AsyncIterator[LoopHarness]:
    # Only a-z: a name with many digits in a row is not accepted as a metric label.
    name = "".join(chr(ord("a") + byte % 26) for byte in uuid.uuid4().bytes)
    request = build_message_type("Request", f"request-{name}")
    reply = build_message_type("Reply", f"reply-{name}")
    await create_topics(settings, request.topic, reply.topic, replicas=replicas)
    await create_topics(
        settings,
        "dead-letters",
        replicas=replicas,
        configs={"max.message.bytes": str(MAX_REQUEST_BYTES)},
    )
    async with Producer(settings) as producer:
        harness = LoopHarness(
            settings=settings,
            producer=producer,
            request=request,
            reply=reply,
            group=f"group-{name}",
        )
        try:
            yield harness
        finally:
            await harness.close()
