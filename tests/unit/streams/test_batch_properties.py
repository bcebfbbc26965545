"""With and without batches, in any interleaving of arrivals, failures, slow outcomes, rebalances
and crashes: a key's messages are handled in order, each is finished once for each delivery, and no
offset passes an unfinished one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import InvalidMessage, MessageError, Transient
from shared.messages.base import Message
from shared.messages.dead_letters import DeadLetter
from shared.streams.backoff import Backoff
from shared.streams.loop import MessageLoop
from shared.streams.routes import BatchRoutes, Outcome, Received
from shared.streams.settings import KafkaSettings
from shared.testing.dead_letters import MemoryDeadLetters
from tests.builders import NOON
from tests.unit.streams.fake_kafka import FakeConsumer, FakeKafka, FakeProducer

PARTITIONS = 2
KEYS = tuple(f"key-{number}" for number in range(4))
KAFKA = KafkaSettings(
    bootstrap_servers="none",
    revocation_timeout_ms=1,
    drain_timeout_ms=1,
    max_unfinished=6,
    max_unfinished_per_partition=6,
    commit_interval_ms=1,
    dead_letters_per_minute=1_000,
)

Plan = Literal["outputs", "nothing", "later", "later fails", "alone", "fails once", "invalid"]


class Step(Message):
    """A message with what its handlers do."""

    topic: ClassVar[str] = "steps"
    key_name: str
    number: int
    plan: Plan

    def key(self) -> bytes:
        return self.key_name.encode()


class Single(Step):
    """A type without a batch route, on the same topic."""


class Other(Step):
    """Another type with a batch route."""


class Done(Message):
    topic: ClassVar[str] = "done"
    key_name: str
    number: int
    epoch: int
    """How often the partitions were assigned when its handler began."""

    def key(self) -> bytes:
        return self.key_name.encode()


KINDS: tuple[type[Step], ...] = (Step, Step, Other, Single)


class Gates:
    """Where handlers wait for the test."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Raises: what the test fails it with."""
        gate = asyncio.get_running_loop().create_future()
        self._waiting.append(gate)
        await gate

    def open(self, number: int, error: MessageError | None = None) -> None:
        self._waiting = [gate for gate in self._waiting if not gate.done()]
        if not self._waiting:
            return
        gate = self._waiting[number % len(self._waiting)]
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)


class ServiceUnderTest:
    """A service whose handlers finish, fail and crash when the test says so."""

    def __init__(self, *, with_batches: bool, acknowledges: bool) -> None:
        self.kafka = FakeKafka("steps", PARTITIONS)
        self.producer = FakeProducer(acknowledges=acknowledges, on_publish=self.on_publish)
        self.gates = Gates()
        self.total_by_key = Counter[str]()
        self.epoch = 0
        self.failures: list[BaseException] = []
        self.kinds_of_batches: set[type[Message]] = set()
        self._with_batches = with_batches
        self._dead_letters = MemoryDeadLetters()
        self._attempts = Counter[tuple[str, int]]()
        self._silent: set[tuple[str, int]] = set()
        """Those that were handled without an output."""
        self._running: set[str] = set()
        self._sent = Counter[tuple[str, int, int]]()

    # The handlers

    async def on_single(self, step: Step) -> Sequence[Message]:
        self.begin(step)
        epoch = self.epoch
        try:
            await self.gates.wait()
        finally:
            self._running.discard(step.key_name)
        self._attempts[step.key_name, step.number] += 1
        if step.plan == "invalid":
            raise InvalidMessage("it makes no sense")
        if step.plan == "fails once" and self._attempts[step.key_name, step.number] == 1:
            raise Transient("not now")
        return self.conclude(step, epoch)

    async def on_batch(self, batch: Sequence[Received[Step]]) -> Sequence[Outcome]:
        steps = [received.message for received in batch]
        assert len({step.key_name for step in steps}) == len(steps), "a key twice in one batch"
        assert len({type(step) for step in steps}) == 1
        self.kinds_of_batches.add(type(steps[0]))
        for step in steps:
            self.begin(step)
        epoch = self.epoch
        try:
            await self.gates.wait()
        finally:
            self._running.difference_update(step.key_name for step in steps)
        return [self.decide(step, epoch) for step in steps]

    def decide(self, step: Step, epoch: int) -> Outcome:
        if step.plan in ("alone", "fails once", "invalid"):
            return None
        if step.plan in ("later", "later fails"):
            self.begin(step)
            return self.finish_later(step, epoch)
        return self.conclude(step, epoch)

    async def finish_later(self, step: Step, epoch: int) -> Sequence[Message]:
        try:
            await self.gates.wait()
        finally:
            self._running.discard(step.key_name)
        if step.plan == "later fails":
            raise Transient("not now")
        return self.conclude(step, epoch)

    def begin(self, step: Step) -> None:
        """Check that nothing before it with its key is unfinished, and that it runs alone."""
        assert step.key_name not in self._running, "two messages of one key at the same time"
        self._running.add(step.key_name)
        done = self.done()
        assert all((step.key_name, number) in done for number in range(step.number)), (
            f"{step} was begun before one of its key was finished"
        )

    def conclude(self, step: Step, epoch: int) -> Sequence[Message]:
        if step.plan == "nothing":
            if epoch == self.epoch:
                self._silent.add((step.key_name, step.number))
            return []
        return [
            Done(
                message_id=f"{step.message_id}:done",
                occurred_at=NOON,
                key_name=step.key_name,
                number=step.number,
                epoch=epoch,
            )
        ]

    def on_publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, Done):
                assert message.epoch == self.epoch, "published for a partition that was revoked"
                self._sent[message.key_name, message.number, message.epoch] += 1

    # What the test does

    async def start(self) -> None:
        self.consumer = FakeConsumer(self.kafka)
        build: Callable[..., Any] = lambda *_: self.consumer  # noqa: E731
        batch_routes: BatchRoutes = {Step: self.on_batch, Other: self.on_batch}
        self._loop = MessageLoop(
            "service",
            {Step: self.on_single, Single: self.on_single, Other: self.on_single},
            settings=KAFKA,
            producer=self.producer,
            dead_letters=self._dead_letters,
            batch_routes=batch_routes if self._with_batches else {},
            backoff=Backoff(first_s=0, max_s=0),
            build_consumer=build,
        )
        self._running_loop = asyncio.create_task(self._loop.run())
        await settle()
        await self.rebalance(range(PARTITIONS))

    async def rebalance(self, partitions: Any) -> None:
        self.epoch += 1
        await self.consumer.rebalance(partitions)

    async def arrive(self, key: int, kind: int, plan: Plan) -> None:
        key_name = KEYS[key]
        number = self.total_by_key[key_name]
        self.total_by_key[key_name] += 1
        self.kafka.append(
            key % PARTITIONS,
            KINDS[kind](
                message_id=f"{key_name}:{number}",
                occurred_at=NOON,
                key_name=key_name,
                number=number,
                plan=plan,
            ),
        )
        self.consumer.on_append()

    async def crash(self) -> None:
        """Crash as with kill -9: no drain, no last commit."""
        committed = dict(self.kafka.committed)
        self._running_loop.cancel()
        await asyncio.gather(self._running_loop, return_exceptions=True)
        self.kafka.committed = committed
        self._running.clear()
        await self.start()

    async def stop(self) -> None:
        self._loop.stop()
        await self._running_loop

    # What holds

    def done(self) -> set[tuple[str, int]]:
        published = {
            (message.key_name, message.number)
            for message in self.producer.published
            if isinstance(message, Done)
        }
        parked = {
            tuple(message.record_headers)
            for message in self.producer.published
            if isinstance(message, DeadLetter)
        }
        ids = [dict(headers)["message_id"].decode().split(":") for headers in parked]
        return published | self._silent | {(key, int(number)) for key, number in ids}

    def check(self) -> None:
        """Check the loop, and that every committed message is done and each sent once."""
        if self._running_loop.done():
            self._running_loop.result()
        assert set(self._sent.values()) <= {1}, "a message was published twice for one delivery"
        done = self.done()
        for records in self.kafka.records_by_partition:
            for record in records:
                if self.kafka.is_committed(record):
                    step = Step.model_validate_json(record.value or b"")
                    assert (step.key_name, step.number) in done, f"{step} is committed, not done"


async def settle() -> None:
    """Let all tasks run until each waits for the test."""
    for _ in range(30):
        await asyncio.sleep(0)


ARRIVALS = st.tuples(
    st.just("arrive"),
    st.tuples(
        st.integers(0, len(KEYS) - 1),
        st.integers(0, len(KINDS) - 1),
        st.sampled_from(
            ("outputs", "nothing", "later", "later fails", "alone", "fails once", "invalid")
        ),
    ),
)
STEPS = st.one_of(
    st.lists(ARRIVALS, min_size=1, max_size=6).map(lambda several: ("arrive all", several)),
    st.tuples(st.just("open"), st.integers(0, 5)),
    st.tuples(st.just("open"), st.integers(0, 5)),
    st.tuples(st.just("open"), st.integers(0, 5)),
    st.tuples(st.just("fail"), st.integers(0, 5)),
    st.tuples(st.just("acknowledge"), st.just(0)),
    st.tuples(st.just("rebalance"), st.sets(st.integers(0, PARTITIONS - 1))),
    st.tuples(st.just("crash"), st.just(0)),
)


@given(steps=st.lists(STEPS, max_size=20), with_batches=st.booleans(), acknowledges=st.booleans())
@settings(max_examples=40)
def test_keys_stay_in_order_and_no_unfinished_message_is_passed(
    steps: list[tuple[str, Any]], *, with_batches: bool, acknowledges: bool
) -> None:
    asyncio.run(run_steps(steps, with_batches=with_batches, acknowledges=acknowledges))


async def run_steps(
    steps: list[tuple[str, Any]], *, with_batches: bool, acknowledges: bool
) -> None:
    service = ServiceUnderTest(with_batches=with_batches, acknowledges=acknowledges)
    await service.start()
    for verb, what in steps:
        await take_step(service, verb, what)
        await settle()
        service.check()
    await service.rebalance(range(PARTITIONS))
    total = service.total_by_key.total()
    for _ in range(10 * total + 10):
        await settle()
        service.check()
        if sum(service.kafka.committed.values()) == total:
            break
        service.gates.open(0)
        service.producer.acknowledge()
    await settle()
    await service.stop()
    service.check()
    assert len(service.done()) == total, "everything is done in the end"
    assert sum(service.kafka.committed.values()) == total, "everything is committed in the end"
    assert with_batches or not service.kinds_of_batches


async def take_step(service: ServiceUnderTest, verb: str, what: Any) -> None:
    if verb == "arrive all":
        for _, (key, kind, plan) in what:
            await service.arrive(key, kind, plan)
    elif verb == "open":
        service.gates.open(what)
    elif verb == "fail":
        service.gates.open(what, Transient("not now"))
    elif verb == "acknowledge":
        service.producer.acknowledge()
    elif verb == "rebalance":
        await service.rebalance(what)
    else:
        await service.crash()
