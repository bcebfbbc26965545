"""What is every service's process made of, how does it start, and how does it end?

    def main() -> None:
        run("pricer", compose)

    @asynccontextmanager
    async def compose(process: Process) -> AsyncIterator[Service]:
        settings = read(Settings)
        async with Producer(process.kafka) as producer, ...:          # whatever the service owns, closed after the last message
            yield Service(producer=producer, routes={CopyIntended: handler.on_copy_intended},
            feeds={"books": feed})

It starts or says why not; it ends with status 0 on SIGTERM, after what runs has finished, and with
1 whenever something failed.
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
from shared.observe import health, logs, metrics, tracing
from shared.observe.health import HealthServer, ProbeResult
from shared.observe.settings import HealthSettings, LogSettings, TelemetrySettings
from shared.settings import read
from shared.streams.dead_letter_store import DeadLetterStore
from shared.streams.dead_letters import DeadLetter
from shared.streams.loop import MessageLoop
from shared.streams.partitioning import Ownership
from shared.streams.producer import Producer
from shared.streams.routes import Feed, Routes
from shared.streams.settings import KafkaSettings

log = logging.getLogger(__name__)


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
    """The parts of a service, on open resources."""

    producer: Producer
    routes: Routes
    dead_letters: DeadLetterStore
    """Where messages are kept that cannot be handled."""
    produces: Sequence[type[Message]] = ()
    """What it produces: their topics are asked for at the start, not when money waits."""
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    """By name. A feed reconnects by itself; one that raises or returns stops the process."""
    readiness_checks: Sequence[ReadinessCheck] = ()
    ownership: Ownership = field(default_factory=Ownership)
    """Give the same one to the feeds that must know which keys are this instance's."""


Compose = Callable[[Process], AbstractAsyncContextManager[Service]]


class FeedEnded(Exception):
    """A feed returned, which it never should."""


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
        log.critical("cannot start: %s", error)
        sys.exit(1)
    except Exception:
        log.exception("%s failed", name)
        sys.exit(1)
    finally:
        telemetry.shutdown()
    sys.exit(0)


async def serve(
    name: str, compose: Compose, process: Process, *, until: asyncio.Event | None = None
) -> None:
    """Run the service until SIGTERM, SIGINT or ``until``. Raises: whatever it failed with, after
    everything is closed.
    """
    stop = until or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with compose(process) as service:
        await _check_topics(service)
        # What was made so far, 200,000 objects of libraries, stays: left out, a full collection
        # does not stop all messages for 0.1 s.
        gc.freeze()
        loop = MessageLoop(
            name,
            service.routes,
            settings=process.kafka,
            producer=service.producer,
            parking=service.dead_letters,
            ownership=service.ownership,
        )
        probes = await _probes(process.health, loop, service.readiness_checks)
        log.info("%s started, health at %s", name, probes.url)
        try:
            await _supervise(loop, service, stop)
        finally:
            await probes.close()
    log.info("%s stopped", name)


async def _supervise(loop: MessageLoop, service: Service, stop: asyncio.Event) -> None:
    """Until ``stop``, or until the loop or a feed ends: feeds first, so that nothing new comes in,
    then the loop with what runs.
    """
    told, looping = asyncio.create_task(stop.wait()), asyncio.create_task(loop.run())
    feeds = {
        asyncio.create_task(feed(service.producer.publish)): name
        for name, feed in service.feeds.items()
    }
    try:
        ended, _ = await asyncio.wait((told, looping, *feeds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (told, *feeds):
            task.cancel()
        await asyncio.gather(told, *feeds, return_exceptions=True)
        loop.stop()
        await looping
    for feed, name in feeds.items():
        if feed in ended:
            feed.result()
            raise FeedEnded(f"the feed {name} ended")


async def _check_topics(service: Service) -> None:
    """Raises: InvalidSettings."""
    types: list[type[Message]] = [*service.routes, *service.produces, DeadLetter]
    needed = {kind.topic for kind in types}
    if missing := sorted(needed - await service.producer.topics()):
        raise InvalidSettings(
            f"these topics do not exist: {', '.join(missing)}. Create them with `slipstream topics apply`"
        )


async def _probes(
    settings: HealthSettings, loop: MessageLoop, recoveries: Iterable[ReadinessCheck]
) -> HealthServer:
    def live() -> ProbeResult:
        reasons = loop.health().live
        return ProbeResult(ok=not reasons, reasons=reasons)

    def ready() -> ProbeResult:
        recovering = tuple(
            f"{each.name} is not ready yet" for each in recoveries if not each.is_ready
        )
        reasons = loop.health().ready + recovering
        return ProbeResult(ok=not reasons, reasons=reasons)

    return await health.serve(settings, live=live, ready=ready)


def _new_loop() -> asyncio.AbstractEventLoop:
    return uvloop.new_event_loop() if sys.platform == "linux" else asyncio.new_event_loop()
