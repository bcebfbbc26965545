"""Measure what one hop with each library adds to a message's latency."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.streams.codec import encode
from tools.bench.contestants.our_message_loop import Sample, on_topic
from tools.bench.figures import Latency, compute_latency, compute_rate
from tools.bench.machine import read_cpu_seconds
from tools.bench.path import TooSlow
from tools.bench.systems import create_topics
from tools.stack.errors import PartDied
from tools.stack.local import LocalStack
from tools.stack.settings import REPOSITORY
from tools.stack.supervisor import Part, Running

PARTITIONS = 4
KEYS = 50
BACKLOG_TIMEOUT_S = 45
PADDING = "." * 160
"""Makes a message of about 290 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    title: str
    module: str
    needs: str = ""
    """A package of the environment of `make bench-hops`; without it, the contestant is skipped."""


CONTESTANTS = (
    Contestant(title="raw aiokafka", module="raw_aiokafka"),
    Contestant(title="our message loop", module="our_message_loop"),
    Contestant(title="Faust agent", module="faust_agent"),
    Contestant(title="FastStream", module="fast_stream", needs="faststream"),
    Contestant(title="confluent-kafka", module="confluent_loop", needs="confluent_kafka"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    backlog: int
    seconds: float
    per_second: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    title: str
    added: Latency | None
    """The latency beyond that without a hop. None: not measured, see ``skipped``."""
    per_second: float = 0.0
    cpu_us: float = 0.0
    skipped: str = ""


async def measure_hops(
    stack: LocalStack,
    effort: Effort,
    interpreters: Mapping[str, Path],
    report: Callable[[Hop], None],
) -> list[Hop]:
    """``interpreters``: the interpreter by needed package. A contestant without one is skipped."""
    bench = HopBench(stack, effort)
    direct = await bench.measure_without_hop()
    hops = []
    for contestant in CONTESTANTS:
        python = interpreters.get(contestant.needs)
        if python is None:
            hops.append(
                Hop(
                    title=contestant.title,
                    added=None,
                    skipped=f"the package {contestant.needs} is missing: "
                    "`make bench-hops` installs it",
                )
            )
        else:
            hops.append(await bench.measure_or_skip(contestant, python, direct))
        report(hops[-1])
    return hops


class HopBench:
    """Produces to and consumes from one contestant after another, each with its own topics."""

    def __init__(self, stack: LocalStack, effort: Effort) -> None:
        self._stack, self._effort = stack, effort

    async def measure_without_hop(self) -> Latency:
        await create_topics(
            self._stack.kafka_bootstrap_servers, ("hop-direct",), partitions=PARTITIONS
        )
        async with self._source() as source, self._sink("hop-direct") as sink:
            return compute_latency(await self._measure_latency(source, sink, "hop-direct"))

    async def measure_or_skip(self, contestant: Contestant, python: Path, direct: Latency) -> Hop:
        """Measure a contestant. If it fails, the result holds the reason, and the others are still
        measured.
        """
        try:
            return await self.measure(contestant, python, direct)
        except (PartDied, TooSlow, TimeoutError) as error:
            return Hop(
                title=contestant.title, added=None, skipped=str(error) or type(error).__name__
            )

    async def measure(self, contestant: Contestant, python: Path, direct: Latency) -> Hop:
        source_topic, target_topic = f"hop-{contestant.module}-in", f"hop-{contestant.module}-out"
        await create_topics(
            self._stack.kafka_bootstrap_servers, (source_topic, target_topic), partitions=PARTITIONS
        )
        arguments = [self._stack.kafka_bootstrap_servers, source_topic, target_topic]
        command: list[str | Path] = [
            python,
            "-m",
            f"tools.bench.contestants.{contestant.module}",
            *arguments,
        ]
        part = Part(name=f"hop-{contestant.module}", command=command, cwd=REPOSITORY, stop_within=2)
        async with self._source() as source, self._sink(target_topic) as sink:
            await self._produce_backlog(source, source_topic)
            running = await self._stack.supervisor.start(part)
            try:
                per_second, cpu_us = await self._measure_backlog(sink, target_topic, running)
                waits = await self._measure_latency(source, sink, source_topic, target_topic)
            finally:
                await self._stack.supervisor.stop(running)
        return Hop(
            title=contestant.title,
            added=compute_latency(waits).subtract(direct),
            per_second=per_second,
            cpu_us=cpu_us,
        )

    async def _produce_backlog(self, source: AIOKafkaProducer, topic: str) -> None:
        sent = [await self._send(source, topic, number) for number in range(self._effort.backlog)]
        await asyncio.gather(*sent)

    async def _measure_backlog(
        self, sink: AIOKafkaConsumer, topic: str, hop: Running
    ) -> tuple[float, float]:
        """Messages per second, and the hop's CPU microseconds per message, from the growth of the
        target topic.

        Raises: PartDied where the hop ended; TooSlow where it takes longer than
        ``BACKLOG_TIMEOUT_S``.
        """
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        progress: list[tuple[float, int]] = [(time.perf_counter(), 0)]
        at_start, first = 0.0, 0
        while progress[-1][1] < self._effort.backlog:
            if hop.ended.done():
                raise hop.death()
            if time.perf_counter() - progress[0][0] > BACKLOG_TIMEOUT_S:
                raise TooSlow(
                    f"{hop.name}: {progress[-1][1]} of {self._effort.backlog} messages "
                    f"after {BACKLOG_TIMEOUT_S} s"
                )
            await asyncio.sleep(0.02)
            done = sum((await sink.end_offsets(partitions)).values())
            if done and not first:
                at_start, first = read_cpu_seconds({"hop": hop.pid})["hop"], done
            progress.append((time.perf_counter(), done))
        used = read_cpu_seconds({"hop": hop.pid})["hop"] - at_start
        return compute_rate(progress), used * 1e6 / max(1, progress[-1][1] - first)

    async def _measure_latency(
        self, source: AIOKafkaProducer, sink: AIOKafkaConsumer, topic: str, target: str = ""
    ) -> list[float]:
        """Send at a low rate and return each message's latency in milliseconds."""
        sink.assign([TopicPartition(target or topic, number) for number in range(PARTITIONS)])
        await sink.seek_to_end()
        expected = round(self._effort.seconds * self._effort.per_second)
        sent_at: dict[str, float] = {}
        sending = asyncio.create_task(self._send_evenly(source, topic, expected, sent_at))
        waits: list[float] = []
        async with asyncio.timeout(self._effort.seconds + 30):
            while len(waits) < expected:
                for records in (await sink.getmany(timeout_ms=200)).values():
                    now = time.perf_counter()
                    waits += [
                        (now - sent_at[json.loads(record.value)["message_id"]]) * 1000
                        for record in records
                    ]
        await sending
        return waits[len(waits) // 10 :]  # without the first tenth, which warms up

    async def _send_evenly(
        self, source: AIOKafkaProducer, topic: str, count: int, sent_at: dict[str, float]
    ) -> None:
        started = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(
                max(0.0, started + number / self._effort.per_second - time.perf_counter())
            )
            sent_at[f"light-{number}"] = time.perf_counter()
            await self._send(source, topic, f"light-{number}")

    async def _send(
        self, source: AIOKafkaProducer, topic: str, number: object
    ) -> asyncio.Future[Any]:
        record = encode(build_sample(on_topic(topic), number))
        acknowledged: asyncio.Future[Any] = await source.send(
            topic, record.value, key=record.key, headers=record.headers
        )
        return acknowledged

    @asynccontextmanager
    async def _source(self) -> AsyncIterator[AIOKafkaProducer]:
        async with AIOKafkaProducer(
            bootstrap_servers=self._stack.kafka_bootstrap_servers,
            acks="all",
            enable_idempotence=True,
        ) as producer:
            yield producer

    @asynccontextmanager
    async def _sink(self, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._stack.kafka_bootstrap_servers, fetch_max_wait_ms=100
        )
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        async with consumer:
            yield consumer


def build_sample(kind: type[Sample], number: object) -> Sample:
    who = f"0x{hash(str(number)) % KEYS:040x}"
    return kind(
        message_id=str(number),
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        who=who,
        padding=PADDING,
    )
