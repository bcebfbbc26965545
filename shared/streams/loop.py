"""The message loop of a service: every message at least once, in the order of its key.

One consumer reads all topics of the routes; a queue for each key has its messages handled one at a
time, alone or in a batch with those of other keys, which it does not wait for; a partition's offset
is committed up to its oldest unfinished message. An unexpected error, which is a bug of ours, stops
the process.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from shared.domain.errors import MessageError
from shared.streams.assignment import PartitionAssignment
from shared.streams.backoff import Backoff
from shared.streams.backpressure import Backpressure
from shared.streams.batches import Batches, PublishesBatch
from shared.streams.closing import close_with_timeout
from shared.streams.consumer import build_consumer
from shared.streams.dead_letter_store import BlockedKeys, DeadLetterStore
from shared.streams.dead_letters import DeadLetterLimit, TooManyDeadLetters
from shared.streams.key_queues import Delivery, KeyQueues
from shared.streams.membership import InstanceReplaced, Membership
from shared.streams.message_processor import MessageProcessor, PublishesAll, describe_position
from shared.streams.offset_commits import OffsetCommits, report_unfinished
from shared.streams.partitioning import Ownership
from shared.streams.redriver import Redriver
from shared.streams.routes import BatchRoutes, Routes
from shared.streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

POLL_TIMEOUT_S = 0.5
SILENT_AFTER_S = 5.0
NO_BATCHES: BatchRoutes = MappingProxyType({})


class MessageFailed(Exception):
    """A message stopped the process. The text has its position and the error, not its contents."""


class Publishes(PublishesAll, PublishesBatch, Protocol):
    """What the loop publishes with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The reasons why the loop is not live or not ready; empty where it is."""

    live: tuple[str, ...]
    ready: tuple[str, ...]


class MessageLoop(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The message loop of one service.

    ``run`` returns after ``stop``, or raises what stopped it; every finished message is committed
    by then.
    """

    def __init__(
        self,
        service: str,
        routes: Routes,
        *,
        settings: KafkaSettings,
        producer: Publishes,
        dead_letters: DeadLetterStore,
        batch_routes: BatchRoutes = NO_BATCHES,
        ownership: Ownership | None = None,
        backoff: Backoff | None = None,
        build_consumer: Callable[[str, KafkaSettings], AIOKafkaConsumer] = build_consumer,
        clock: Callable[[], float] = time.monotonic,
        # what aiokafka dates its polls with
        wall_clock: Callable[[], float] = time.time,  # noqa: TID251
    ) -> None:
        self._service, self._settings = service, settings
        self._build_consumer = build_consumer
        self._clock, self._wall_clock = clock, wall_clock
        self._topics = frozenset(kind.topic for kind in routes)
        self._ownership = ownership or Ownership()
        self._blocked_keys = BlockedKeys(dead_letters, service)
        self._processor = self._build_processor(
            routes, producer, dead_letters, backoff or Backoff()
        )
        self._key_queues = KeyQueues(self._process, self._on_failed, self._gather)
        self._batches = self._build_batches(batch_routes, producer)
        self._assignments: dict[TopicPartition, PartitionAssignment] = {}
        self._backpressure = Backpressure(self._assignments, settings)
        self._offset_commits = OffsetCommits(
            self._assignments, interval_s=settings.commit_interval_ms / 1000
        )
        self._redriver = Redriver(
            dead_letters,
            self._blocked_keys,
            service,
            assignments=self._assignments,
            is_known=self._processor.is_known,
            put=self._key_queues.put,
        )
        self._still_handling: list[PartitionAssignment] = []
        """Assignments that were given back while a handler was still running."""
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._membership, self._is_assigned = Membership(service, settings), False
        self._polled_at = self._silent_until = clock()

    def _build_processor(
        self,
        routes: Routes,
        producer: Publishes,
        dead_letters: DeadLetterStore,
        backoff: Backoff,
    ) -> MessageProcessor:
        limit = self._settings.dead_letters_per_minute
        return MessageProcessor(
            self._service,
            routes,
            producer=producer,
            dead_letters=dead_letters,
            blocked_keys=self._blocked_keys,
            on_finished=self._on_finished,
            dead_letter_limit=DeadLetterLimit(limit=limit, window_s=60),
            backoff=backoff,
            clock=self._clock,
        )

    def _build_batches(self, routes: BatchRoutes, producer: Publishes) -> Batches:
        return Batches(
            self._service,
            routes,
            keys=self._key_queues,
            producer=producer,
            blocked_keys=self._blocked_keys,
            on_finished=self._on_finished,
            on_failed=self._on_batch_failed,
            clock=self._clock,
        )

    async def run(self) -> None:
        """Raises: MessageFailed; InstanceReplaced; KafkaError that is not retriable."""
        self._consumer = self._build_consumer(self._service, self._settings)
        self._consumer.subscribe(topics=set(self._topics), listener=self)
        try:
            await self._consumer.start()
            await self._run_tasks()
        except KafkaError as error:
            # aiokafka does not know the broker's error for a name that another process has. Its own
            # is logged as well: the name may be another process's for another reason.
            logger.error("Kafka ended the consumer: %r", error)
            await self._membership.require_free_name()
            raise
        finally:
            await close_with_timeout("consumer", self._consumer.stop())

    def stop(self) -> None:
        """Read nothing more, and let running handlers finish within the drain timeout."""
        if not self._stopped.done():
            self._stopped.set_result(None)

    def health(self) -> Health:
        now = self._clock()
        return Health(
            live=tuple(self._reasons_not_live(now)), ready=tuple(self._reasons_not_ready())
        )

    async def _run_tasks(self) -> None:
        tasks = [
            asyncio.create_task(part)
            for part in (
                self._keep_polling(),
                self._offset_commits.run(self._consumer),
                self._redriver.run(),
            )
        ]
        try:
            await asyncio.wait((*tasks, self._stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._release_all(timeout_s=self._settings.drain_timeout_ms / 1000)
            await self._batches.cancel()
            await self._key_queues.cancel()
        for ended in (self._stopped, *tasks):
            if ended.done() and not ended.cancelled():
                ended.result()

    # Receiving

    async def _keep_polling(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=int(POLL_TIMEOUT_S * 1000))
            self._polled_at = self._clock()
            if not batches and self._is_assigned and self._kafka_is_silent():
                self._silent_until = self._polled_at
            for partition, records in batches.items():
                assignment = self._get_or_add_assignment(partition)
                for record in records:
                    assignment.add(record.offset)
                    self._key_queues.put(Delivery(assignment, record))
                if self._backpressure.is_full(assignment):
                    self._consumer.pause(partition)
                    assignment.paused = True
                report_unfinished(assignment)
            for assignment in self._assignments.values():
                self._resume_if_low(assignment)

    def _get_or_add_assignment(self, partition: TopicPartition) -> PartitionAssignment:
        if (assignment := self._assignments.get(partition)) is None:
            assignment = self._assignments[partition] = PartitionAssignment(partition, self._clock)
        return assignment

    def _gather(self, delivery: Delivery) -> bool:
        return self._batches.gather(delivery)

    async def _process(self, delivery: Delivery) -> None:
        try:
            await self._processor.process(delivery)
        finally:
            if delivery.dead_letter is not None:
                self._redriver.on_processed(delivery.dead_letter)

    def _on_finished(self, delivery: Delivery) -> None:
        assignment = delivery.assignment
        if assignment.finish(delivery.record.offset):
            self._offset_commits.request()
        self._resume_if_low(assignment)

    def _resume_if_low(self, assignment: PartitionAssignment) -> None:
        if assignment.paused and assignment.is_open and self._backpressure.is_low(assignment):
            self._consumer.resume(assignment.partition)
            assignment.paused = False

    def _on_failed(self, delivery: Delivery, error: BaseException) -> None:
        self._stop_after(describe_position(delivery.record), error)

    def _on_batch_failed(self, batch: Sequence[Delivery], error: BaseException) -> None:
        others = " or another message of its batch" if len(batch) > 1 else ""
        self._stop_after(describe_position(batch[0].record) + others, error)

    def _stop_after(self, position: str, error: BaseException) -> None:
        if self._stopped.done() and isinstance(error, asyncio.CancelledError):
            return
        kind = type(error).__name__
        # Only the texts of our own errors are known to contain no secret and no payload.
        reason = f": {error}" if isinstance(error, MessageError | TooManyDeadLetters) else ""
        logger.error(
            "%s stopped the process with %s%s\n%s",
            position,
            kind,
            reason,
            "".join(traceback.format_tb(error.__traceback__)),
        )
        if not self._stopped.done():
            self._stopped.set_exception(
                MessageFailed(f"{position} stopped the process with {kind}{reason}")
            )

    # Rebalancing

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for partition in assigned:
            self._get_or_add_assignment(partition)
        self._redriver.on_assigned()
        counts = {
            topic: len(self._consumer.partitions_for_topic(topic) or ()) for topic in self._topics
        }
        self._ownership.assign(self._assignments, count_by_topic=counts)
        self._membership.on_joined(self._consumer)
        self._polled_at = self._clock()
        self._is_assigned = True

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._is_assigned = False
        await self._release_all(timeout_s=self._settings.revocation_timeout_ms / 1000)
        try:
            await self._membership.require_own_name(self._consumer)
        except InstanceReplaced as error:
            if not self._stopped.done():
                self._stopped.set_exception(error)
            # Ends aiokafka's task, which would join again otherwise.
            raise asyncio.CancelledError from error

    async def _release_all(self, *, timeout_s: float) -> None:
        """Give all partitions back.

        Running handlers may finish within ``timeout_s``, finished messages are committed, and
        after that nothing of these assignments is published or committed.
        """
        self._ownership.revoke()
        assignments = list(self._assignments.values())
        for assignment in assignments:
            assignment.close()
        self._offset_commits.interrupt()
        try:
            await self._wait_until_idle(assignments, timeout_s)
            await self._offset_commits.commit_last(self._consumer, assignments)
        finally:
            for assignment in assignments:
                assignment.end()
                self._assignments.pop(assignment.partition, None)
            self._still_handling = [
                assignment
                for assignment in (*self._still_handling, *assignments)
                if assignment.busy_since is not None
            ]

    async def _wait_until_idle(
        self, assignments: Sequence[PartitionAssignment], timeout_s: float
    ) -> None:
        """Wait until no handler of the assignments runs, and log those that still do.

        Without ``asyncio.timeout``: where the caller was cancelled, that of Python before 3.11.4
        would end this wait too.
        """
        waits = [asyncio.create_task(each.wait_until_idle()) for each in assignments]
        try:
            if waits:
                await asyncio.wait(waits, timeout=timeout_s)
        finally:
            for wait in waits:
                wait.cancel()
        still_running = [
            f"{each.partition.topic}/{each.partition.partition}"
            for each in assignments
            if each.busy_since is not None
        ]
        if still_running:
            logger.warning(
                "handlers still run in %s after %.1f s: their messages will be delivered again",
                ", ".join(still_running),
                timeout_s,
            )

    # Health

    def _reasons_not_live(self, now: float) -> Iterable[str]:
        if self._is_assigned and now - self._polled_at > self._settings.stuck_after_s:
            yield f"nothing was read from Kafka for {now - self._polled_at:.0f} s"
        for assignment in (*self._assignments.values(), *self._still_handling):
            # A handler waits for its outputs as long as Kafka does not answer. A restart would not
            # help and would delay the recovery.
            if (since := assignment.busy_since) is None:
                continue
            if now - max(since, self._silent_until) > self._settings.stuck_after_s:
                partition = assignment.partition
                yield (
                    f"a handler of {partition.topic}/{partition.partition} "
                    f"runs for {now - since:.0f} s"
                )

    def _reasons_not_ready(self) -> Iterable[str]:
        if self._stopped.done():
            yield "stopping"
        if not self._is_assigned:
            yield "no partitions assigned"
            return
        if unread := self._poll_timestamps().count(None):
            yield f"{unread} partitions have not been read yet"
        elif self._kafka_is_silent():
            yield "Kafka does not answer"

    def _kafka_is_silent(self) -> bool:
        answered = [at for at in self._poll_timestamps() if at is not None]
        return bool(answered) and self._wall_clock() - max(answered) / 1000 > SILENT_AFTER_S

    def _poll_timestamps(self) -> list[int | None]:
        """The last poll of each partition that is not paused, in milliseconds since 1970.

        None: it has not been polled yet.
        """
        return [
            self._consumer.last_poll_timestamp(each.partition)
            for each in self._assignments.values()
            if not each.paused
        ]
