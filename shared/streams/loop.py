"""How does every message of a service get handled: in the order of its key, at least once, and
without waiting for other keys?

One consumer takes from all topics of the routes; a lane for each key carries out one message after
another; a partition's offset is committed up to its oldest unfinished message. Whatever must not be
passed over, which is a bug of ours, stops the process.
"""

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError

from shared.domain.errors import MessageError
from shared.observe import metrics
from shared.streams.assignment import PartitionAssignment
from shared.streams.backoff import Backoff
from shared.streams.closing import close_with_timeout
from shared.streams.dead_letter_store import BlockedKeys, DeadLetterStore
from shared.streams.dead_letters import DeadLetterLimit, TooManyDeadLetters
from shared.streams.key_queues import Delivery, KeyQueues
from shared.streams.message_processor import MessageProcessor, PublishesAll, place
from shared.streams.partitioning import Ownership
from shared.streams.redriver import Redriver
from shared.streams.routes import Routes
from shared.streams.settings import KafkaSettings

log = logging.getLogger(__name__)

TAKE_EVERY_S = 0.5
COMMIT_EVERY_S = 0.05
FETCH_WAIT_MS = 100
"""How long the broker holds a fetch that has nothing. aiokafka has one fetch on its way per broker,
without the partitions that are paused at that moment: a resumed partition waits for its end."""
METADATA_MAX_AGE_MS = 10_000
"""aiokafka 0.14 that looks up where to begin asks a partition's old leader again and again, until
it looks by itself who leads now. By default that is after five minutes, for which a partition
without a committed offset would stand still."""
SILENT_AFTER_S = 5.0
LAST_COMMIT_WITHIN_S = 5.0


class MessageFailed(Exception):
    """A message stopped the process. Says where and what kind, not what was in it."""


def build_consumer(service: str, settings: KafkaSettings) -> AIOKafkaConsumer:
    """The consumer of one instance of a service; the group is the service."""
    return AIOKafkaConsumer(
        **settings.client(),
        group_id=service,
        group_instance_id=settings.group_instance_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # The same partition numbers of all topics to the same instance: one key has one lane,
        # whatever topic it comes on.
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 4,
        rebalance_timeout_ms=settings.revocation_timeout_ms + 10_000,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the loop says of itself: reasons against being live or ready, none if it is."""

    live: tuple[str, ...]
    ready: tuple[str, ...]


class MessageLoop(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One service's loop. ``run`` returns after ``stop``, or raises what stopped it; everything
    finished is committed by then.
    """

    def __init__(
        self,
        service: str,
        routes: Routes,
        *,
        settings: KafkaSettings,
        producer: PublishesAll,
        parking: DeadLetterStore,
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
        self._most_unfinished = settings.max_unfinished_per_partition
        self._parked_keys = BlockedKeys(parking, service)
        self._handling = MessageProcessor(
            service,
            routes,
            producer=producer,
            parking=parking,
            parked_keys=self._parked_keys,
            finished=self._finished,
            allowance=DeadLetterLimit(limit=settings.dead_letters_per_minute, window_s=60),
            backoff=backoff or Backoff(),
            clock=clock,
        )
        self._lanes = KeyQueues(self._carry_out, self._failed)
        self._tenures: dict[TopicPartition, PartitionAssignment] = {}
        self._redriver = Redriver(
            parking,
            self._parked_keys,
            service,
            tenures=self._tenures,
            knows=self._handling.knows,
            put=self._lanes.put,
        )
        self._late: list[PartitionAssignment] = []  # given back while a handler still ran
        self._advanced = asyncio.Event()
        self._halt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committing: asyncio.Task[None] | None = None
        self._assigned = False
        self._turned_at = self._silent_until = clock()

    async def run(self) -> None:
        """Raises: MessageFailed; KafkaError that waiting cannot cure."""
        self._consumer = self._build_consumer(self._service, self._settings)
        self._consumer.subscribe(topics=set(self._topics), listener=self)
        try:
            await self._consumer.start()
            await self._work()
        finally:
            await close_with_timeout("consumer", self._consumer.stop())

    def stop(self) -> None:
        """Take nothing more; let running handlers finish, within the drain time."""
        if not self._halt.done():
            self._halt.set_result(None)

    def health(self) -> Health:
        now = self._clock()
        return Health(live=tuple(self._not_live(now)), ready=tuple(self._not_ready()))

    async def _work(self) -> None:
        tasks = [
            asyncio.create_task(part())
            for part in (self._take, self._keep_committing, self._redriver.run)
        ]
        try:
            await asyncio.wait((*tasks, self._halt), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._release(within_s=self._settings.drain_timeout_ms / 1000)
            await self._lanes.cancel()
        for ended in (self._halt, *tasks):
            if ended.done() and not ended.cancelled():
                ended.result()

    # What comes in

    async def _take(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=int(TAKE_EVERY_S * 1000))
            self._turned_at = self._clock()
            if not batches and self._assigned and self._kafka_is_silent():
                self._silent_until = self._turned_at
            for partition, records in batches.items():
                tenure = self._tenure(partition)
                for record in records:
                    tenure.take(record.offset)
                    self._lanes.put(Delivery(tenure, record))
                if tenure.unfinished >= self._most_unfinished:
                    self._consumer.pause(partition)
                    tenure.paused = True
                metrics.messages_unfinished(partition.topic, partition.partition, tenure.unfinished)

    def _tenure(self, partition: TopicPartition) -> PartitionAssignment:
        if (tenure := self._tenures.get(partition)) is None:
            tenure = self._tenures[partition] = PartitionAssignment(partition, self._clock)
        return tenure

    async def _carry_out(self, work: Delivery) -> None:
        try:
            await self._handling.carry_out(work)
        finally:
            if work.dead_letter is not None:
                self._redriver.left_its_lane(work.dead_letter)

    def _finished(self, work: Delivery) -> None:
        tenure = work.assignment
        if tenure.finish(work.record.offset):
            self._advanced.set()
        if tenure.paused and tenure.unfinished * 2 <= self._most_unfinished and tenure.open:
            self._consumer.resume(tenure.partition)
            tenure.paused = False

    def _failed(self, work: Delivery, error: BaseException) -> None:
        if self._halt.done() and isinstance(error, asyncio.CancelledError):
            return
        where, kind = place(work.record), type(error).__name__
        # Only our own errors promise that their text holds no secret and no payload.
        said = f": {error}" if isinstance(error, MessageError | TooManyDeadLetters) else ""
        log.error(
            "%s stopped the process with %s%s\n%s",
            where,
            kind,
            said,
            "".join(traceback.format_tb(error.__traceback__)),
        )
        if not self._halt.done():
            self._halt.set_exception(
                MessageFailed(f"{where} stopped the process with {kind}{said}")
            )

    # What is committed

    async def _keep_committing(self) -> None:
        while True:
            await self._advanced.wait()
            self._advanced.clear()
            self._committing = asyncio.create_task(self._commit(self._tenures.values()))
            await asyncio.wait((self._committing,))
            if not self._committing.cancelled():
                self._committing.result()
            await asyncio.sleep(COMMIT_EVERY_S)

    async def _commit(self, tenures: Iterable[PartitionAssignment]) -> None:
        moved = {tenure: offset for tenure in tenures if (offset := tenure.uncommitted) is not None}
        if not moved:
            return
        try:
            await self._consumer.commit(
                {tenure.partition: offset for tenure, offset in moved.items()}
            )
        except (CommitFailedError, IllegalStateError) as error:
            # The group has gone on without us. What is not committed is delivered again, to whoever
            # holds the partition.
            log.warning("commit refused: %s", error)
            return
        for tenure, offset in moved.items():
            tenure.committed = offset
            metrics.messages_unfinished(
                tenure.partition.topic, tenure.partition.partition, tenure.unfinished
            )

    # What is handed over

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for partition in assigned:
            self._tenure(partition)
        self._redriver.look_again()
        counts = {
            topic: len(self._consumer.partitions_for_topic(topic) or ()) for topic in self._topics
        }
        self._ownership.assign(self._tenures, count_by_topic=counts)
        self._turned_at = self._clock()
        self._assigned = True

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._assigned = False
        await self._release(within_s=self._settings.revocation_timeout_ms / 1000)

    async def _release(self, *, within_s: float) -> None:
        """Give all partitions back: what runs may finish, what is finished is committed, and then
        nothing of them is touched any more.
        """
        self._ownership.revoke()
        tenures = list(self._tenures.values())
        for tenure in tenures:
            tenure.close()
        if self._committing is not None:
            self._committing.cancel()
        try:
            await self._come_to_rest(tenures, within_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._commit(tenures), LAST_COMMIT_WITHIN_S)
        finally:
            for tenure in tenures:
                tenure.end()
                self._tenures.pop(tenure.partition, None)
            self._late = [
                tenure for tenure in (*self._late, *tenures) if tenure.busy_since is not None
            ]

    async def _come_to_rest(self, tenures: Sequence[PartitionAssignment], within_s: float) -> None:
        """Not by ``asyncio.timeout``: where we end because we were cancelled, that of Python before
        3.11.4 would end this too.
        """
        at_rest = asyncio.gather(*(tenure.quiet() for tenure in tenures))
        try:
            await asyncio.wait((at_rest,), timeout=within_s)
        finally:
            at_rest.cancel()
        late = [
            f"{each.partition.topic}/{each.partition.partition}"
            for each in tenures
            if each.busy_since is not None
        ]
        if late:
            log.warning(
                "handlers still run in %s after %.1f s: their messages will be delivered again",
                ", ".join(late),
                within_s,
            )

    # How it is

    def _not_live(self, now: float) -> Iterable[str]:
        if self._assigned and now - self._turned_at > self._settings.stuck_after_s:
            yield f"nothing was taken from Kafka for {now - self._turned_at:.0f} s"
        for tenure in (*self._tenures.values(), *self._late):
            # What is produced waits as long as Kafka is away. To restart for that would help
            # nobody, and delay the return.
            if (
                tenure.busy_since is not None
                and now - max(tenure.busy_since, self._silent_until) > self._settings.stuck_after_s
            ):
                yield f"a handler of {tenure.partition.topic}/{tenure.partition.partition} runs for {now - tenure.busy_since:.0f} s"

    def _not_ready(self) -> Iterable[str]:
        if self._halt.done():
            yield "stopping"
        if not self._assigned:
            yield "no partitions assigned"
            return
        if unread := self._polled().count(None):
            yield f"{unread} partitions have not been read yet"
        elif self._kafka_is_silent():
            yield "Kafka does not answer"

    def _kafka_is_silent(self) -> bool:
        answered = [at for at in self._polled() if at is not None]
        return bool(answered) and self._wall_clock() - max(answered) / 1000 > SILENT_AFTER_S

    def _polled(self) -> list[int | None]:
        """When each partition that is read was answered for last, in milliseconds since 1970."""
        return [
            self._consumer.last_poll_timestamp(each.partition)
            for each in self._tenures.values()
            if not each.paused
        ]
