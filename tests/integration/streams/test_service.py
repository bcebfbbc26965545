"""A whole process in miniature: parts, probes, feeds, and its end."""

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
from tests.integration.streams.loop_harness import LoopHarness, Said, said

pytestmark = pytest.mark.integration


@dataclass
class Recovering:
    """A cache that recovers when the test says so."""

    name: str = "the cache of prices"
    is_ready: bool = False


@dataclass
class Deployed:
    """A service, and what its process has been through."""

    bench: LoopHarness
    feeds: dict[str, Feed] = field(default_factory=dict)
    recovering: Recovering = field(default_factory=lambda: Recovering(is_ready=True))
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    events: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def compose(self, process: Process) -> AsyncIterator[Service]:
        async with Producer(process.kafka) as producer:
            yield Service(
                producer=producer,
                dead_letters=MemoryDeadLetters(),
                routes={self.bench.heard: self.on_heard},
                feeds=self.feeds,
                readiness_checks=[self.recovering],
                produces=[self.bench.answered],
            )
            self.events.append("resources closed")

    async def on_heard(self, message: Said) -> Sequence[Message]:
        self.events.append(f"heard {message.what}")
        return [said(self.bench.answered, message.who, message.what)]

    async def run(self) -> None:
        await serve(self.bench.group, self.compose, a_process(self.bench.settings), until=self.stop)


def a_process(kafka: KafkaSettings) -> Process:
    return Process(
        kafka=kafka, health=HealthSettings(), telemetry=TelemetrySettings(), log=LogSettings()
    )


async def test_what_a_feed_publishes_is_handled_and_resources_outlive_the_last_message(
    bench: LoopHarness,
) -> None:
    async def feed(publish: Publish) -> None:
        await publish(said(bench.heard, "anna", "hello"))
        await asyncio.Event().wait()

    deployed = Deployed(bench, feeds={"visitors": feed})
    running = asyncio.create_task(deployed.run())

    assert await bench.answers(1) == ["hello"]
    deployed.stop.set()
    await running
    assert deployed.events == ["heard hello", "resources closed"]
    await bench.passed(1)


async def test_a_feed_that_raises_stops_the_service_with_its_error(bench: LoopHarness) -> None:
    async def feed(_: Publish) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Deployed(bench, feeds={"visitors": feed}).run()


async def test_a_feed_that_returns_stops_the_service_too(bench: LoopHarness) -> None:
    async def feed(_: Publish) -> None:
        return

    with pytest.raises(FeedEnded, match="the feed visitors ended"):
        await Deployed(bench, feeds={"visitors": feed}).run()


async def test_a_service_is_ready_when_it_has_its_partitions_and_its_caches(
    bench: LoopHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[health.HealthServer] = []
    serve_probes = health.serve

    async def noting(*given: Any, **named: Any) -> health.HealthServer:
        servers.append(await serve_probes(*given, **named))
        return servers[0]

    monkeypatch.setattr(health, "serve", noting)
    deployed = Deployed(bench, recovering=Recovering())
    running = asyncio.create_task(deployed.run())
    await eventually(lambda: servers)

    async with aiohttp.ClientSession(servers[0].url) as session:

        async def reasons(probe: str) -> list[str]:
            async with session.get(probe) as answer:
                found: dict[str, Any] = await answer.json()
                assert found["ok"] == (answer.status == 200) == (not found["reasons"])
                return list(found["reasons"])

        async def only_the_cache_is_missing() -> bool:
            return await reasons("/ready") == ["the cache of prices is not ready yet"]

        await eventually(only_the_cache_is_missing)
        deployed.recovering.is_ready = True
        assert await reasons("/ready") == []
        assert await reasons("/live") == []
        deployed.stop.set()
        await running


async def test_a_service_without_a_broker_says_which_variable_to_look_at(
    bench: LoopHarness,
) -> None:
    process = a_process(KafkaSettings(bootstrap_servers="127.0.0.1:1"))

    with pytest.raises(
        InvalidSettings,
        match=r"KAFKA_BOOTSTRAP_SERVERS is '127\.0\.0\.1:1': no broker answers there",
    ):
        await serve("nobody", Deployed(bench).compose, process)
