"""What becomes of one message, from its bytes to its acknowledged outputs?

the handler returns           its outputs are produced and acknowledged       finished
routed to ``ignored``         nothing                                         finished
InvalidMessage, undecodable   parked, and told on ``dead-letters``            finished
of a newer release            put aside for it, and told on ``dead-letters``  finished
its key waits (parking.py)    parked behind what it waits for                 finished
Transient                     tried again while its key alone waits           finished once it works
its partition is given back   nothing more is produced                        unfinished: it will be delivered again
anything else is raised       the process stops                               unfinished: it will be delivered again
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from shared.domain.errors import InvalidMessage, Transient, UnknownVersion
from shared.messages.base import Message
from shared.observe import metrics, tracing
from shared.observe.metrics import MessageOutcome
from shared.streams.backoff import Backoff
from shared.streams.codec import Decoder, Record, with_values
from shared.streams.dead_letter_store import BlockedKeys, DeadLetterStore, StoredDeadLetter
from shared.streams.dead_letters import DeadLetterLimit, dead_letter
from shared.streams.key_queues import Delivery
from shared.streams.routes import Routes, ignored

log = logging.getLogger(__name__)


class PublishesAll(Protocol):
    async def publish_all(self, messages: Sequence[Message]) -> None:
        """Returns when Kafka has acknowledged every one of them."""
        ...


class MessageProcessor:
    """The fate of each message of one service. ``finished`` is told when a message needs no
    redelivery any more.
    """

    def __init__(
        self,
        service: str,
        routes: Routes,
        *,
        producer: PublishesAll,
        parking: DeadLetterStore,
        parked_keys: BlockedKeys,
        finished: Callable[[Delivery], None],
        allowance: DeadLetterLimit,
        backoff: Backoff,
        clock: Callable[[], float],
    ) -> None:
        self._service, self._routes = service, routes
        self._producer, self._finished = producer, finished
        self._parking, self._parked_keys = parking, parked_keys
        self._allowance, self._backoff, self._clock = allowance, backoff, clock
        self._decoder = Decoder(routes)
        self.knows = self._decoder.knows

    async def carry_out(self, work: Delivery) -> None:
        """Raises: whatever must stop the process."""
        record, tenure = work.record, work.assignment
        headers = dict(with_values(record.headers))
        started = self._clock()
        tenure.enter(record.offset)
        with tracing.start_processing_span(
            headers,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            group=self._service,
            message_type=headers.get("type", b"").decode("utf-8", "backslashreplace"),
        ):
            try:
                outcome = await self._outcome(work, headers)
            finally:
                tenure.leave(record.offset)
        metrics.message_handled(record.topic, self._clock() - started, outcome)

    async def _outcome(self, work: Delivery, headers: Mapping[str, bytes]) -> MessageOutcome:
        attempt = 1
        while True:
            try:
                return await self._attempt(work, headers)
            except Transient as error:
                delay = self._backoff.delay(attempt)
                log.warning(
                    "%s, attempt %d, next in %.2f s: %s", place(work.record), attempt, delay, error
                )
                metrics.message_retried(work.record.topic)
                if await work.assignment.rest(work.record.offset, delay):
                    return MessageOutcome.HANDED_OVER
                attempt += 1

    async def _attempt(self, work: Delivery, headers: Mapping[str, bytes]) -> MessageOutcome:
        try:
            kind = self._decoder.recognise(headers)
            handle = self._routes[kind]
            if handle is ignored:
                return await self._concluded(work, (), MessageOutcome.IGNORED)
            if await self._must_wait(work):
                return await self._held_up(work)
            message = self._decoder.decode(kind, work.record)
            return await self._concluded(work, await handle(message), MessageOutcome.HANDLED)
        except (InvalidMessage, UnknownVersion) as error:
            return await self._parked(work, error)

    async def _must_wait(self, work: Delivery) -> bool:
        if work.dead_letter is not None:
            return not await self._parking.has_its_turn(work.dead_letter, service=self._service)
        return self._parked_keys.hold_up(work.record)

    async def _held_up(self, work: Delivery) -> MessageOutcome:
        """A letter stays where it is kept, also one that was discarded on its way here; a record
        goes behind what its key waits for.
        """
        if work.dead_letter is None:
            log.warning("%s waits behind a parked message of its key", place(work.record))
            await self._parked_keys.park(
                work.record, reason="a message before it with the same key is parked", waits=True
            )
            self._finished(work)
        return MessageOutcome.WAITS

    async def _parked(
        self, work: Delivery, error: InvalidMessage | UnknownVersion
    ) -> MessageOutcome:
        record, of_a_newer_release = work.record, isinstance(error, UnknownVersion)
        if work.dead_letter is not None:
            await self._parking.park_again(work.dead_letter, reason=str(error))
        else:
            await self._parked_keys.park(record, reason=str(error), waits=of_a_newer_release)
        log.error("%s is parked: %s", place(record), error)
        metrics.message_parked(record.topic, error)
        if work.dead_letter is not None:
            return MessageOutcome.PARKED
        # such are told by the release that wrote them, not by a defect of ours, and come back by
        # themselves
        if not of_a_newer_release:
            self._allowance.take(self._clock())
        return await self._concluded(
            work,
            (dead_letter(record, service=self._service, reason=str(error)),),
            MessageOutcome.PARKED,
        )

    async def _concluded(
        self, work: Delivery, outputs: Sequence[Message], outcome: MessageOutcome
    ) -> MessageOutcome:
        if work.assignment.ended:
            # The partition may be another's by now, who gets this message again: producing here too
            # would break the key's order.
            return MessageOutcome.HANDED_OVER
        await self._producer.publish_all(outputs)
        if work.dead_letter is None:
            self._finished(work)
        else:
            await self._settled(work.dead_letter)
        return outcome

    async def _settled(self, letter: StoredDeadLetter) -> None:
        """Raises: Transient; it is then handled once more, as any redelivery."""
        await self._parking.settle(letter)
        await self._parked_keys.look()
        metrics.message_redriven(letter.topic)


def place(record: Record) -> str:
    """Where a message stands, a parked one by its number; never what it says."""
    return (
        f"{record.topic}/{record.partition}@{record.offset}"
        if record.offset >= 0
        else f"{record.topic}, letter {-record.offset}"
    )
