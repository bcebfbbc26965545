"""Runs the process of a service: start, message loop, feeds, health probes and end.

    def main() -> None:
        run("pricer", compose)

    @asynccontextmanager
    async def compose(process: Process) -> AsyncIterator[Service]:
        settings = read(Settings)
        # what the service owns is closed after the last message
        async with Producer(process.kafka) as producer, ...:
            yield Service(
                producer=producer,
                routes={CopyIntended: handler.on_copy_intended},
                feeds={"books": feed},
            )

A process that cannot start says why. It ends with status 0 on SIGTERM, after running handlers have
finished, and with status 1 whenever something failed.
"""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, Self

import uvloop

from shared.domain.errors import InvalidSettings
from shared.messages.base import Message
from shared.messages.dead_letters import DeadLetter
from shared.observe import health, logs, metrics, tracing
from shared.observe.health import HealthServer, ProbeResult
from shared.observe.settings import HealthSettings, LogSettings, TelemetrySettings
from shared.settings import read
from shared.streams.dead_letter_store import DeadLetterStore
from shared.streams.loop import MessageLoop
from shared.streams.membership import InstanceReplaced
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.routes import BatchRoutes, Feed, Routes
from shared.streams.settings import KafkaSettings

logger = logging.getLogger(__name__)


class ReadinessCheck(Protocol):
    """Something that must have caught up before the service is ready, such as a cache."""

    @property
    def name(self) -> str: ...

    @property
    def is_ready(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What every process reads from its environment."""

    kafka: KafkaSettings
    health: HealthSettings
    telemetry: TelemetrySettings
    log: LogSettings

    @classmethod
    def read(cls) -> Self:
        """Raises: InvalidSettings."""
        return cls(
            kafka=read(KafkaSettings),
            health=read(HealthSettings),
            telemetry=read(TelemetrySettings),
            log=read(LogSettings),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts of a service, with its resources open."""

    producer: Producer
    routes: Routes
    dead_letters: DeadLetterStore
    """The store of messages that cannot be handled."""
    batch_routes: BatchRoutes = field(default_factory=dict)
    """For the types that come in great numbers, beside their ordinary routes."""
    produces: Sequence[type[Message]] = ()
    """The types that it publishes: their topics are checked at the start."""
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    """By name. A feed reconnects on its own; one that raises or returns stops the process."""
    readiness_checks: Sequence[ReadinessCheck] = ()
    ownership: Ownership = field(default_factory=Ownership)
    """Shared with the feeds that handle only the keys of this instance."""


Compose = Callable[[Process], AbstractAsyncContextManager[Service]]


class FeedEnded(Exception):
    """A feed returned, although a feed runs until the process ends."""


def run(name: str, compose: Compose, process: Callable[[], Process] = Process.read) -> NoReturn:
    """Run the service ``name`` (also its consumer group) until SIGTERM or a failure, and exit."""
    try:
        settings = process()
    except InvalidSettings as error:
        sys.exit(str(error))
    logs.setup(name, settings.log)
    if settings.kafka.sasl_password is not None:
        logs.register_secret(settings.kafka.sasl_password.get_secret_value())
    metrics.build_info(name, tracing.installed_version())
    metrics.serve_process_figures()
    telemetry = tracing.setup(name, settings.telemetry)
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(serve(name, compose, settings))
    except InvalidSettings as error:
        logger.critical("cannot start: %s", error)
        sys.exit(1)
    except InstanceReplaced as error:
        logger.critical("%s", error)
        sys.exit(1)
    except Exception:
        logger.exception("%s failed", name)
        sys.exit(1)
    finally:
        telemetry.shutdown()
    sys.exit(0)


async def serve(
    name: str, compose: Compose, process: Process, *, until: asyncio.Event | None = None
) -> None:
    """Run the service until SIGTERM, SIGINT or ``until``.

    Raises: whatever it failed with, after everything is closed.
    """
    stop = until or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with compose(process) as service:
        await _check_topics(service)
        # The 200,000 objects of libraries that exist now stay. Excluded from the collector, they
        # do not make a full collection stop all messages for 0.1 s.
        gc.freeze()
        loop = MessageLoop(
            name,
            service.routes,
            settings=process.kafka,
            producer=service.producer,
            dead_letters=service.dead_letters,
            ownership=service.ownership,
        )
        probes = await _probes(process.health, loop, service.readiness_checks)
        logger.info("%s started, health at %s", name, probes.url)
        try:
            await _supervise(loop, service, stop)
        finally:
            await probes.close()
    logger.info("%s stopped", name)


async def _supervise(loop: MessageLoop, service: Service, stop: asyncio.Event) -> None:
    """Run the loop and the feeds until ``stop``, or until one of them ends.

    The feeds are ended first, so that nothing new arrives, then the loop with its running handlers.
    """
    stop_task, loop_task = asyncio.create_task(stop.wait()), asyncio.create_task(loop.run())
    feeds = {
        asyncio.create_task(feed(service.producer.publish)): name
        for name, feed in service.feeds.items()
    }
    try:
        ended, _ = await asyncio.wait(
            (stop_task, loop_task, *feeds), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for task in (stop_task, *feeds):
            task.cancel()
        await asyncio.gather(stop_task, *feeds, return_exceptions=True)
        loop.stop()
        await loop_task
    for feed, name in feeds.items():
        if feed in ended:
            feed.result()
            raise FeedEnded(f"the feed {name} ended")


async def _check_topics(service: Service) -> None:
    """Raises: InvalidSettings where a topic of the service does not exist."""
    types: list[type[Message]] = [*service.routes, *service.produces, DeadLetter]
    needed = {kind.topic for kind in types}
    if missing := sorted(needed - await service.producer.fetch_topics()):
        raise InvalidSettings(
            f"these topics do not exist: {', '.join(missing)}. "
            "Create them with `slipstream topics apply`"
        )


async def _probes(
    settings: HealthSettings, loop: MessageLoop, checks: Iterable[ReadinessCheck]
) -> HealthServer:
    def live() -> ProbeResult:
        reasons = loop.health().live
        return ProbeResult(ok=not reasons, reasons=reasons)

    def ready() -> ProbeResult:
        not_ready = tuple(f"{each.name} is not ready yet" for each in checks if not each.is_ready)
        reasons = loop.health().ready + not_ready
        return ProbeResult(ok=not reasons, reasons=reasons)

    return await health.serve(settings, live=live, ready=ready)


def _new_loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop() if sys.platform == "linux" else asyncio.new_event_loop()
