"""Topics and a group of its own for each test."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.streams.producer import MAX_REQUEST_BYTES, Producer
from shared.streams.settings import KafkaSettings
from tests.integration.streams.loop_harness import PARTITIONS, LoopHarness, create_topics, on_topic


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    return quick_settings(kafka)


def quick_settings(bootstrap_servers: str) -> KafkaSettings:
    """Everything as in production, but no test waits longer than it must."""
    return KafkaSettings(
        bootstrap_servers=bootstrap_servers,
        session_timeout_ms=6_000,
        revocation_timeout_ms=1_000,
        drain_timeout_ms=1_000,
        partitions=PARTITIONS,
    )


@pytest.fixture
async def bench(settings: KafkaSettings) -> AsyncIterator[LoopHarness]:
    async with a_bench(settings) as bench:
        yield bench


@asynccontextmanager
async def a_bench(settings: KafkaSettings, *, replicas: int = 1) -> AsyncIterator[LoopHarness]:
    # Letters only: many digits in a row would be no label for a metric.
    name = "".join(chr(ord("a") + byte % 26) for byte in uuid.uuid4().bytes)
    heard, answered = on_topic("Heard", f"heard-{name}"), on_topic("Answered", f"answered-{name}")
    await create_topics(settings, heard.topic, answered.topic, replicas=replicas)
    await create_topics(
        settings,
        "dead-letters",
        replicas=replicas,
        configs={"max.message.bytes": str(MAX_REQUEST_BYTES)},
    )
    async with Producer(settings) as producer:
        bench = LoopHarness(
            settings=settings,
            producer=producer,
            heard=heard,
            answered=answered,
            group=f"group-{name}",
        )
        try:
            yield bench
        finally:
            await bench.close()
