"""Processes one message, from its bytes to its acknowledged outputs.

the handler returns             its outputs are published and acknowledged      finished
its type is routed to `ignored` nothing                                         finished
InvalidMessage, undecodable     parked, and published on `dead-letters`         finished
of a newer release              stored for it, and published on `dead-letters`  finished
its key is blocked              stored behind the dead letters of its key       finished
Transient                       retried, while only its key waits               finished on success
its partition is given back     nothing more is published                       redelivered
anything else is raised         the process stops                               redelivered
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from shared.domain.errors import InvalidMessage, Transient, UnknownVersion
from shared.observe import metrics
from shared.observe.metrics import MessageOutcome
from shared.streams.backoff import Backoff
from shared.streams.codec import Decoder, Record
from shared.streams.dead_letter_store import (
    BlockedKeys,
    DeadLetterState,
    DeadLetterStore,
    StoredDeadLetter,
)
from shared.streams.dead_letters import DeadLetterLimit, build_dead_letter
from shared.streams.handling import Handling
from shared.streams.key_queues import Delivery
from shared.streams.routes import Output, Routes, ignored

logger = logging.getLogger(__name__)


class PublishesAll(Protocol):
    async def publish_all(self, messages: Sequence[Output]) -> None:
        """Returns when Kafka has acknowledged every one of them."""
        ...


class MessageProcessor:
    """Processes the messages of one service.

    ``on_finished`` is called when a message needs no redelivery any more.
    """

    def __init__(
        self,
        service: str,
        routes: Routes,
        *,
        producer: PublishesAll,
        dead_letters: DeadLetterStore,
        blocked_keys: BlockedKeys,
        on_finished: Callable[[Delivery], None],
        dead_letter_limit: DeadLetterLimit,
        backoff: Backoff,
        clock: Callable[[], float],
    ) -> None:
        self._service, self._routes = service, routes
        self._producer, self._on_finished = producer, on_finished
        self._dead_letters, self._blocked_keys = dead_letters, blocked_keys
        self._dead_letter_limit, self._backoff, self._clock = dead_letter_limit, backoff, clock
        self._decoder = Decoder(routes)
        self.is_known = self._decoder.is_known

    async def process(self, delivery: Delivery) -> None:
        """Process one delivery. Raises: whatever must stop the process."""
        handling = Handling(delivery, group=self._service, clock=self._clock)
        with handling.span:
            try:
                outcome = await self._process_with_retries(delivery)
            except BaseException:
                handling.stop()
                raise
        handling.end(outcome)

    async def _process_with_retries(self, delivery: Delivery) -> MessageOutcome:
        attempt = 1
        while True:
            try:
                return await self._process_once(delivery)
            except Transient as error:
                delay = self._backoff.delay(attempt)
                logger.warning(
                    "%s failed at attempt %d and is retried in %.2f s: %s",
                    describe_position(delivery.record),
                    attempt,
                    delay,
                    error,
                )
                metrics.message_retried(delivery.record.topic)
                if await delivery.assignment.wait_before_retry(delivery.record.offset, delay):
                    return MessageOutcome.PARTITION_REVOKED
                attempt += 1

    async def _process_once(self, delivery: Delivery) -> MessageOutcome:
        try:
            kind = self._decoder.resolve_type(delivery.headers)
            handle = self._routes[kind]
            if handle is ignored:
                return await self._conclude(delivery, (), MessageOutcome.IGNORED)
            if await self._is_blocked(delivery):
                return await self._put_behind_blocked_key(delivery)
            message = self._decoder.decode(kind, delivery.record)
            return await self._conclude(delivery, await handle(message), MessageOutcome.HANDLED)
        except (InvalidMessage, UnknownVersion) as error:
            return await self._park(delivery, error)

    async def _is_blocked(self, delivery: Delivery) -> bool:
        if delivery.dead_letter is not None:
            return not await self._dead_letters.is_due(delivery.dead_letter, service=self._service)
        return self._blocked_keys.is_blocked(delivery.record)

    async def _put_behind_blocked_key(self, delivery: Delivery) -> MessageOutcome:
        """Store a record behind the dead letters of its key.

        A dead letter stays stored as it is, also one that was discarded while it was queued.
        """
        if delivery.dead_letter is None:
            logger.warning(
                "%s waits behind a dead letter of its key", describe_position(delivery.record)
            )
            await self._blocked_keys.park(
                delivery.record,
                reason="a message before it with the same key is parked",
                waiting=True,
            )
            self._on_finished(delivery)
        return MessageOutcome.WAITING

    async def _park(
        self, delivery: Delivery, error: InvalidMessage | UnknownVersion
    ) -> MessageOutcome:
        record, reason = delivery.record, str(error)
        is_of_newer_release = isinstance(error, UnknownVersion)
        if delivery.dead_letter is not None:
            await self._dead_letters.park_again(delivery.dead_letter, reason=reason)
        else:
            await self._blocked_keys.park(record, reason=reason, waiting=is_of_newer_release)
        logger.error("%s is parked: %s", describe_position(record), error)
        metrics.message_parked(record.topic, error)
        if delivery.dead_letter is not None:
            return MessageOutcome.PARKED
        # A message of a newer release is no defect of this one, and is handled without an operator.
        if not is_of_newer_release:
            self._dead_letter_limit.count(self._clock())
        dead_letter = build_dead_letter(record, service=self._service, reason=reason)
        return await self._conclude(delivery, (dead_letter,), MessageOutcome.PARKED)

    async def _conclude(
        self, delivery: Delivery, outputs: Sequence[Output], outcome: MessageOutcome
    ) -> MessageOutcome:
        if delivery.assignment.ended:
            # Another instance may have the partition by now and gets this message again: publishing
            # here too would break the order of the key.
            return MessageOutcome.PARTITION_REVOKED
        await self._producer.publish_all(outputs)
        if delivery.dead_letter is None:
            self._on_finished(delivery)
        else:
            await self._resolve(delivery.dead_letter)
        return outcome

    async def _resolve(self, dead_letter: StoredDeadLetter) -> None:
        """Record that a dead letter was handled.

        Raises: Transient; it is then handled once more, as any redelivery.
        """
        if await self._dead_letters.resolve(dead_letter) is DeadLetterState.REDRIVING:
            metrics.message_redriven(dead_letter.topic)
        await self._blocked_keys.refresh()


def describe_position(record: Record) -> str:
    """Return where a record is: topic, partition and offset, or the number of a dead letter."""
    if record.offset < 0:
        return f"{record.topic}, dead letter {-record.offset}"
    return f"{record.topic}/{record.partition}@{record.offset}"
