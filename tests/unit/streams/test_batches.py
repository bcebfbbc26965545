"""Messages that have their turn at the same time are handled together, each as if it were alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.domain.errors import Transient
from shared.messages.base import Message
from shared.messages.dead_letters import DeadLetter
from shared.observe import tracing
from shared.observe.metrics import REGISTRY
from shared.streams import batches
from shared.streams.loop import MessageFailed, MessageLoop
from shared.streams.producer import Publication
from shared.streams.routes import InTrace, Outcome, Received
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from tests.unit.streams.fake_kafka import FakeConsumer, FakeKafka, FakeProducer
from tests.unit.streams.test_health import Clock
from tests.unit.streams.test_loop_properties import Done, Task, a_task, settle

SETTINGS = KafkaSettings(bootstrap_servers="none", revocation_timeout_ms=1, drain_timeout_ms=1)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = int("0af7651916cd43dd8448eb211c80319c", 16)


class TracingProducer(FakeProducer):
    """Keeps the trace of each published message."""

    def __init__(self) -> None:
        super().__init__(acknowledges=True, on_publish=lambda _: None)
        self.traceparent_by_id: dict[str, str | None] = {}

    async def publish_batch(self, publications: Sequence[Publication]) -> None:
        for messages, traceparent, _ in publications:
            for each in messages:
                message, its_own = each if isinstance(each, InTrace) else (each, traceparent)
                self.traceparent_by_id[message.message_id] = its_own
        await super().publish_batch(publications)


@dataclass(kw_only=True)
class Subject:
    """A service that decides batches by a function of the message, and counts what it handles."""

    decide: Any
    dead_letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    kafka: FakeKafka = field(default_factory=lambda: FakeKafka("tasks", 1))
    producer: TracingProducer = field(default_factory=TracingProducer)
    clock: Clock = field(default_factory=Clock)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[list[int]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)

    async def on_tasks(self, batch: Sequence[Received[Task]]) -> Sequence[Outcome]:
        self.batches.append([received.message.number for received in batch])
        await self.gate.wait()
        return [self.decide(received) for received in batch]

    async def on_task(self, task: Task) -> Sequence[Message]:
        self.alone.append(task.number)
        return [done(task)]

    def arrive(self, *tasks: Task, **headers: bytes) -> None:
        for task in tasks:
            record = self.kafka.append(0, task)
            changed = record._replace(headers=[*record.headers, *headers.items()])
            self.kafka.records_by_partition[0][record.offset] = changed
        self.consumer.on_append()

    def finished(self) -> list[int]:
        return sorted(each.number for each in self.producer.published if isinstance(each, Done))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.consumer = FakeConsumer(self.kafka)
        self.loop = MessageLoop(
            "service",
            {Task: self.on_task},
            settings=SETTINGS,
            producer=self.producer,
            dead_letters=self.dead_letters,
            batch_routes={Task: self.on_tasks},
            build_consumer=lambda *_: self.consumer,
            clock=self.clock,
            wall_clock=self.clock,
        )
        self.task = asyncio.create_task(self.loop.run())
        await settle()
        await self.consumer.rebalance([0])
        await settle()
        yield
        self.loop.stop()
        with suppress(MessageFailed):
            await self.task


def done(task: Task) -> Done:
    return Done(**task.model_dump(), rebalances=0)


def reply(received: Received[Task]) -> Outcome:
    return [done(received.message)]


async def test_what_arrives_while_a_batch_is_handled_gathers_for_the_next_one() -> None:
    subject = Subject(decide=reply)
    async with subject.running():
        subject.arrive(a_task("anna", 1), a_task("berta", 2))
        await settle()
        subject.arrive(a_task("anna", 3), a_task("clara", 4), a_task("dora", 5))
        await settle()
        assert subject.batches == [[1, 2]]

        subject.gate.set()
        await settle()

        assert subject.finished() == [1, 2, 3, 4, 5]
    # Each key's second message has its turn when the first is acknowledged.
    assert subject.batches == [[1, 2], [4, 5], [3]]
    assert subject.alone == []


async def test_a_batch_has_at_most_so_many_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MAX_BATCH", 3)
    subject = Subject(decide=reply)
    subject.gate.set()
    async with subject.running():
        subject.arrive(*(a_task(f"key-{number}", number) for number in range(7)))
        await settle()

        assert [len(batch) for batch in subject.batches] == [3, 3, 1]
        assert subject.finished() == list(range(7))


async def test_what_a_batch_leaves_is_handled_alone_before_what_follows_with_its_key() -> None:
    subject = Subject(
        decide=lambda received: None if received.message.number == 1 else reply(received)
    )
    subject.gate.set()
    async with subject.running():
        subject.arrive(a_task("anna", 1), a_task("berta", 2), a_task("anna", 3))
        await settle()

        assert (subject.batches, subject.alone) == ([[1, 2], [3]], [1])
        assert subject.finished() == [1, 2, 3]


async def test_an_outcome_that_takes_long_delays_no_other_batch() -> None:
    may_end = asyncio.Event()

    def decide(received: Received[Task]) -> Outcome:
        async def reply_later() -> Sequence[Message]:
            await may_end.wait()
            return [done(received.message)]

        return reply_later() if received.message.key_name == "anna" else reply(received)

    subject = Subject(decide=decide)
    subject.gate.set()
    async with subject.running():
        subject.arrive(a_task("anna", 1), a_task("berta", 2))
        await settle()
        subject.arrive(a_task("anna", 3), a_task("berta", 4))
        await settle()
        assert (subject.finished(), subject.batches) == ([2, 4], [[1, 2], [4]])

        may_end.set()
        await settle()
        assert subject.finished() == [1, 2, 3, 4]


async def test_a_batch_that_fails_is_handled_message_by_message() -> None:
    def fail(_: object) -> Outcome:
        raise Transient("not now")

    def retried() -> float:
        return (
            REGISTRY.get_sample_value("slipstream_message_retries_total", {"topic": "tasks"}) or 0
        )

    subject, before = Subject(decide=fail), retried()
    subject.gate.set()
    async with subject.running():
        subject.arrive(a_task("anna", 1), a_task("berta", 2))
        await settle()

        assert (subject.alone, subject.finished()) == ([1, 2], [1, 2])
        assert retried() - before == 2


async def test_a_bug_in_a_batch_stops_the_process() -> None:
    def fail(_: object) -> Outcome:
        raise KeyError("swordfish")

    subject = Subject(decide=fail)
    subject.gate.set()
    async with subject.running():
        subject.arrive(a_task("anna", 1), a_task("berta", 2))
        with pytest.raises(MessageFailed) as raised:
            await subject.task

    assert str(raised.value) == (
        "tasks/0@0 or another message of its batch stopped the process with KeyError"
    )
    assert subject.kafka.committed == {}


@pytest.mark.parametrize("outputs", [0, 1])
@pytest.mark.parametrize("later", [False, True])
async def test_a_bug_in_what_follows_a_message_stops_the_process(
    monkeypatch: pytest.MonkeyPatch, outputs: int, later: bool
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("swordfish")

    def decide(received: Received[Task]) -> Outcome:
        async def reply_later() -> Sequence[Message]:
            await asyncio.sleep(0)
            return [done(received.message)] * outputs

        return reply_later() if later else [done(received.message)] * outputs

    monkeypatch.setattr(batches.Batches, "_finish", fail)
    subject = Subject(decide=decide)
    subject.gate.set()
    async with subject.running():
        subject.arrive(a_task("anna", 1))
        with pytest.raises(MessageFailed, match="KeyError"):
            await asyncio.wait_for(subject.task, timeout=10)


async def test_a_batch_handler_that_forgets_a_message_stops_the_process() -> None:
    subject = Subject(decide=reply)

    async def forget(_: object) -> Sequence[Outcome]:
        return []

    subject.on_tasks = forget  # type: ignore[method-assign, assignment]
    async with subject.running():
        subject.arrive(a_task("anna", 1))
        with pytest.raises(MessageFailed, match="ValueError"):
            await subject.task


async def test_a_message_that_cannot_be_decoded_is_parked_by_its_ordinary_route() -> None:
    subject = Subject(decide=reply)
    subject.gate.set()
    async with subject.running():
        broken = subject.kafka.append(0, a_task("anna", 1))
        subject.kafka.records_by_partition[0][0] = broken._replace(value=b"\xff")
        subject.arrive(a_task("berta", 2))
        await settle()

        assert (subject.batches, subject.finished()) == ([[2]], [2])
        (dead_letter,) = (
            each for each in subject.producer.published if isinstance(each, DeadLetter)
        )
        assert dead_letter.reason == "not a Task: value: json_invalid"


async def test_a_message_behind_a_dead_letter_of_its_key_waits_there() -> None:
    store = MemoryDeadLetters(frozenset({"tasks"}))
    subject = Subject(decide=reply, dead_letters=store)
    subject.gate.set()
    await store.park(
        FakeKafka("tasks", 1).append(0, a_task("anna", 0))._replace(offset=99),
        service="service",
        reason="it came too early",
        waiting=False,
    )
    async with subject.running():
        subject.arrive(a_task("anna", 1), a_task("berta", 2))
        await settle()

        assert (subject.batches, subject.alone) == ([[2]], [])
        assert len(store.entries) == 2


async def test_a_stuck_batch_makes_the_loop_not_live() -> None:
    subject = Subject(decide=reply)
    async with subject.running():
        subject.arrive(a_task("anna", 1))
        await settle()

        subject.clock.now += 121
        subject.consumer.return_empty()
        await settle()

        assert subject.loop.health().live == ("a handler of tasks/0 runs for 121 s",)


async def test_each_message_has_its_own_span_and_its_outputs_continue_its_trace() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    inside: dict[int, str | None] = {}

    def decide(received: Received[Task]) -> Outcome:
        async def reply_later() -> Sequence[Message]:
            inside[received.message.number] = tracing.inject()
            return [done(received.message)]

        assert tracing.inject() is None, "a batch belongs to no message's trace"
        number = received.message.number
        return None if number == 3 else reply_later() if number == 2 else reply(received)

    subject = Subject(decide=decide)
    subject.gate.set()
    with tracing.use_provider(provider):
        async with subject.running():
            subject.arrive(
                *(a_task(f"key-{number}", number) for number in range(4)),
                traceparent=TRACEPARENT.encode(),
            )
            await settle()

    spans = {describe(span.attributes): span for span in exporter.get_finished_spans()}
    assert len(exporter.get_finished_spans()) == len(spans) == 4
    assert {span.name for span in spans.values()} == {"process tasks"}
    assert {span.context.trace_id for span in spans.values() if span.context} == {TRACE_ID}
    published = subject.producer.traceparent_by_id
    for number in (0, 1, 2):
        context = spans[number].context
        assert context is not None
        assert (published[f"task-{number}"] or "").split("-")[2] == f"{context.span_id:016x}"
    assert inside == {2: published["task-2"]}


async def test_without_a_collector_the_trace_of_a_message_is_passed_on() -> None:
    subject = Subject(decide=reply)
    subject.gate.set()
    async with subject.running():
        subject.arrive(a_task("anna", 1), traceparent=TRACEPARENT.encode())
        subject.arrive(a_task("berta", 2))
        await settle()

    assert subject.producer.traceparent_by_id == {"task-1": TRACEPARENT, "task-2": None}


def describe(attributes: Mapping[str, Any] | None) -> int:
    """The number of the task that a span is about."""
    return int(str((attributes or {})["messaging.kafka.message.key"]).removeprefix("key-"))
