"""Handles messages in batches: those of a type that have their turn at the same time.

its assignment is closed        nothing                                         redelivered
its key is blocked, undecodable its ordinary route                              as there
its outcome is a sequence       its outputs are published and acknowledged      finished
its outcome is awaitable        the same, in a task of its own                  finished
its outcome is None             its ordinary route                              as there
MessageError                    all of the batch: their ordinary routes         as there
its partition is given back     nothing more is published                       redelivered
anything else is raised         the process stops                               redelivered
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from shared.domain.errors import MessageError, Transient
from shared.messages.base import Message
from shared.observe import metrics
from shared.observe.metrics import MessageOutcome
from shared.streams.codec import Decoder, Record
from shared.streams.dead_letter_store import BlockedKeys
from shared.streams.handling import Handling
from shared.streams.key_queues import Delivery
from shared.streams.producer import Publication
from shared.streams.routes import BatchRoutes, Outcome, Output, Received
from shared.streams.running_tasks import RunningTasks

logger = logging.getLogger(__name__)

MAX_BATCH = 500
"""So many rows are one statement of PostgreSQL; more would keep the first ones waiting."""


class PublishesBatch(Protocol):
    async def publish_batch(self, publications: Sequence[Publication]) -> None:
        """Returns when Kafka has acknowledged every message of every one of them. Raises: also
        what was raised when one was called back.
        """
        ...


class KeyOrder(Protocol):
    """What a key's next delivery waits for."""

    def release(self, delivery: Delivery) -> None: ...
    def process_alone(self, delivery: Delivery) -> None: ...


class Batches:
    """One batch of each type is handled at a time; what arrives meanwhile gathers for the next one.
    There is no timer: a single message is handled at once, as a batch of one.

    A key has at most one delivery in here, for which the key's others wait. ``on_finished`` is
    called when a message needs no redelivery any more, ``on_failed`` with what must stop the
    process.
    """

    def __init__(
        self,
        service: str,
        routes: BatchRoutes,
        *,
        keys: KeyOrder,
        producer: PublishesBatch,
        blocked_keys: BlockedKeys,
        on_finished: Callable[[Delivery], None],
        on_failed: Callable[[Sequence[Delivery], BaseException], None],
        clock: Callable[[], float],
    ) -> None:
        self._service, self._routes, self._keys = service, routes, keys
        self._producer, self._blocked_keys = producer, blocked_keys
        self._on_finished, self._on_failed, self._clock = on_finished, on_failed, clock
        self._decoder = Decoder(routes)
        self._next_batch: dict[type[Message], deque[Delivery]] = {kind: deque() for kind in routes}
        self._running: set[type[Message]] = set()
        """The types of which a batch is handled now."""
        self._tasks = RunningTasks()

    def gather(self, delivery: Delivery) -> bool:
        """Take a delivery whose turn it is for the next batch. Return whether it was taken."""
        if not self._routes or delivery.dead_letter is not None or not delivery.assignment.is_open:
            return False
        try:
            kind = self._decoder.resolve_type(delivery.headers)
        except MessageError:
            return False
        self._next_batch[kind].append(delivery)
        if kind not in self._running:
            self._running.add(kind)
            self._tasks.start(self._run(kind))
        return True

    async def cancel(self) -> None:
        """Cancel the running tasks; like after a crash, none of their messages is finished."""
        await self._tasks.cancel()

    async def _run(self, kind: type[Message]) -> None:
        waiting = self._next_batch[kind]
        while waiting:
            taken = [waiting.popleft() for _ in range(min(len(waiting), MAX_BATCH))]
            try:
                if batch := [begun for each in taken if (begun := self._begin(kind, each))]:
                    await self._handle(kind, batch)
            except BaseException as error:
                # Also a stray CancelledError: without a stop of the process the keys would wait for
                # ever.
                self._on_failed(taken, error)
                raise
        self._running.discard(kind)

    def _begin(self, kind: type[Message], delivery: Delivery) -> "_Handling | None":
        """Begin with one delivery of a batch. None: it is dropped, or processed alone."""
        if not delivery.assignment.is_open:
            self._keys.release(delivery)
            return None
        if (message := self._decode(kind, delivery.record)) is None:
            self._keys.process_alone(delivery)
            return None
        return _Handling(delivery, message, group=self._service, clock=self._clock)

    def _decode(self, kind: type[Message], record: Record) -> Message | None:
        """None: no batch can handle it. Its ordinary route finds the same, and deals with it."""
        try:
            return (
                None
                if self._blocked_keys.is_blocked(record)
                else self._decoder.decode(kind, record)
            )
        except MessageError:
            return None

    async def _handle(self, kind: type[Message], batch: Sequence["_Handling"]) -> None:
        try:
            outcomes = await self._routes[kind]([each.received for each in batch])
        except MessageError as error:
            logger.warning(
                "a batch of %d from %s is handled message by message: %s",
                len(batch),
                kind.topic,
                error,
            )
            for each in batch:
                self._leave(each, error)
            return
        if len(outcomes) != len(batch):
            raise ValueError(f"{len(outcomes)} outcomes of {len(batch)} messages")
        self._conclude(list(zip(batch, outcomes, strict=True)))

    def _conclude(self, decided: Sequence[tuple["_Handling", Outcome]]) -> None:
        published = []
        for each, outcome in decided:
            if outcome is None:
                self._leave(each)
            elif isinstance(outcome, Awaitable):
                self._start(self._await_outcome(each, outcome), [each])
            elif self._may_publish(each, outcome):
                published.append((each, outcome))
        if published:
            self._start(self._publish(published), [each for each, _ in published])

    def _start(self, work: Coroutine[Any, Any, None], batch: Sequence["_Handling"]) -> None:
        self._tasks.start(self._stop_at_error(work, [each.delivery for each in batch]))

    async def _stop_at_error(
        self, work: Coroutine[Any, Any, None], deliveries: Sequence[Delivery]
    ) -> None:
        try:
            await work
        except BaseException as error:
            self._on_failed(deliveries, error)
            raise

    async def _await_outcome(self, each: "_Handling", outcome: Awaitable[Sequence[Output]]) -> None:
        try:
            with each.span.current():
                outputs = await outcome
        except MessageError as error:
            self._leave(each, error)
            return
        if self._may_publish(each, outputs):
            await self._publish([(each, outputs)])

    def _may_publish(self, each: "_Handling", outputs: Sequence[Output]) -> bool:
        """Return whether a handled message has outputs to publish; one without is finished."""
        if each.delivery.assignment.ended:
            # Another instance may have the partition by now and gets this message again: publishing
            # here too would break the order of the key.
            self._end(each, MessageOutcome.PARTITION_REVOKED)
            return False
        if not outputs:
            self._finish(each)
        return bool(outputs)

    async def _publish(self, published: Sequence[tuple["_Handling", Sequence[Output]]]) -> None:
        await self._producer.publish_batch(
            [
                Publication(outputs, each.received.traceparent, partial(self._finish, each))
                for each, outputs in published
            ]
        )

    def _finish(self, each: "_Handling") -> None:
        self._on_finished(each.delivery)
        self._end(each, MessageOutcome.HANDLED)

    def _end(self, each: "_Handling", outcome: MessageOutcome) -> None:
        each.end(outcome)
        self._keys.release(each.delivery)

    def _leave(self, each: "_Handling", error: MessageError | None = None) -> None:
        """Leave a message to its ordinary route, which makes its span and its figures.

        The span of an attempt that failed is of its own: rows may have been written below it.
        """
        each.stop()
        if error is not None:
            each.span.end(error)
        if isinstance(error, Transient):
            metrics.message_retried(each.delivery.record.topic)
        self._keys.process_alone(each.delivery)


class _Handling(Handling):
    """The work on a message of a batch."""

    __slots__ = ("received",)

    def __init__(
        self, delivery: Delivery, message: Message, *, group: str, clock: Callable[[], float]
    ) -> None:
        super().__init__(delivery, group=group, clock=clock)
        self.received = Received(message=message, traceparent=self.span.traceparent)
