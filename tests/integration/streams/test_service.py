"""A whole service process: its parts, probes, feeds and end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from shared.domain.errors import InvalidSettings
from shared.messages.base import Message
from shared.observe import health
from shared.observe.settings import HealthSettings, LogSettings, TelemetrySettings
from shared.streams.producer import Producer
from shared.streams.routes import Feed, Publish
from shared.streams.service import FeedEnded, Process, Service, serve
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from shared.testing.waiting import eventually
from tests.integration.streams.loop_harness import ExampleMessage, LoopHarness, build_message

pytestmark = pytest.mark.integration


@dataclass
class FakeCache:
    """A cache that becomes ready when the test says so."""

    name: str = "the cache of prices"
    is_ready: bool = False


@dataclass
class ServiceUnderTest:
    """A service and a record of the events in its process."""

    harness: LoopHarness
    feeds: dict[str, Feed] = field(default_factory=dict)
    cache: FakeCache = field(default_factory=lambda: FakeCache(is_ready=True))
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def compose(self, process: Process) -> AsyncIterator[Service]:
        async with Producer(process.kafka) as producer:
            yield Service(
                producer=producer,
                dead_letters=MemoryDeadLetters(),
                routes={self.harness.request: self.on_request},
                feeds=self.feeds,
                readiness_checks=[self.cache],
                produces=[self.harness.reply],
            )
            self.events.append("resources closed")

    async def on_request(self, message: ExampleMessage) -> Sequence[Message]:
        self.events.append(f"received {message.text}")
        return [build_message(self.harness.reply, message.sender, message.text)]

    async def run(self) -> None:
        await serve(
            self.harness.group, self.compose, build_process(self.harness.settings), until=self.stop
        )


def build_process(kafka: KafkaSettings) -> Process:
    return Process(
        kafka=kafka, health=HealthSettings(), telemetry=TelemetrySettings(), log=LogSettings()
    )


async def test_messages_of_a_feed_are_handled_and_resources_are_closed_after_the_last_one(
    harness: LoopHarness,
) -> None:
    async def feed(publish: Publish) -> None:
        await publish(build_message(harness.request, "anna", "hello"))
        await asyncio.Event().wait()

    service = ServiceUnderTest(harness, feeds={"requests": feed})
    running = asyncio.create_task(service.run())

    assert await harness.fetch_replies(1) == ["hello"]
    service.stop.set()
    await running
    assert service.events == ["received hello", "resources closed"]
    await harness.wait_for_commits(1)


async def test_a_feed_that_raises_stops_the_service_with_its_error(harness: LoopHarness) -> None:
    async def feed(_: Publish) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ServiceUnderTest(harness, feeds={"requests": feed}).run()


async def test_a_feed_that_returns_stops_the_service_too(harness: LoopHarness) -> None:
    async def feed(_: Publish) -> None:
        return

    with pytest.raises(FeedEnded, match="the feed requests ended"):
        await ServiceUnderTest(harness, feeds={"requests": feed}).run()


async def test_a_service_is_ready_once_its_partitions_are_assigned_and_its_caches_are_ready(
    harness: LoopHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[health.HealthServer] = []
    serve_probes = health.serve

    async def serve_and_record(*args: Any, **kwargs: Any) -> health.HealthServer:
        servers.append(await serve_probes(*args, **kwargs))
        return servers[0]

    monkeypatch.setattr(health, "serve", serve_and_record)
    service = ServiceUnderTest(harness, cache=FakeCache())
    running = asyncio.create_task(service.run())
    await eventually(lambda: servers)

    async with aiohttp.ClientSession(servers[0].url) as session:

        async def reasons(probe: str) -> list[str]:
            async with session.get(probe) as response:
                body: dict[str, Any] = await response.json()
                assert body["ok"] == (response.status == 200) == (not body["reasons"])
                return list(body["reasons"])

        async def only_the_cache_is_missing() -> bool:
            return await reasons("/ready") == ["the cache of prices is not ready yet"]

        await eventually(only_the_cache_is_missing)
        service.cache.is_ready = True
        assert await reasons("/ready") == []
        assert await reasons("/live") == []
        service.stop.set()
        await running


async def test_a_service_without_a_broker_names_the_variable_to_check(
    harness: LoopHarness,
) -> None:
    process = build_process(KafkaSettings(bootstrap_servers="127.0.0.1:1"))

    with pytest.raises(
        InvalidSettings,
        match=r"KAFKA_BOOTSTRAP_SERVERS is '127\.0\.0\.1:1': no broker answers there",
    ):
        await serve("service", ServiceUnderTest(harness).compose, process)
