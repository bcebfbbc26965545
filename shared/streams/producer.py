"""Publishes messages and waits until Kafka has acknowledged them."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    UnknownTopicOrPartitionError,
)

from shared.domain.errors import InvalidSettings
from shared.messages.base import Message
from shared.observe import tracing
from shared.streams.backoff import Backoff
from shared.streams.closing import close_with_timeout
from shared.streams.codec import Outgoing, encode
from shared.streams.partitioning import Partitioner
from shared.streams.routes import InTrace, Output
from shared.streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""A dead letter contains a whole record of Kafka's maximum size (1 MiB) in base64."""
MAX_BATCH_BYTES = 512 * 1024
"""What gathers for a partition while it has no leader; what is more waits until it has one. Half of
what a broker accepts in one batch. Nothing waits for a batch to fill."""


class Publication(NamedTuple):
    """What is published about one message, and in which trace."""

    messages: Sequence[Output]
    traceparent: str | None
    on_acknowledged: Callable[[], None] = lambda: None


class _Sending:
    """A publication that Kafka has not acknowledged."""

    __slots__ = ("on_acknowledged", "outgoing")

    def __init__(self, publication: Publication) -> None:
        messages, traceparent, self.on_acknowledged = publication
        self.outgoing = [_encode(message, traceparent) for message in messages]


class Producer:
    """The one producer of a process: idempotent, acknowledged by all in-sync replicas.

    An async context manager.
    """

    def __init__(self, settings: KafkaSettings, *, backoff: Backoff | None = None) -> None:
        self._settings = settings
        self._backoff = backoff or Backoff()

    async def __aenter__(self) -> Self:
        self._kafka = AIOKafkaProducer(
            **self._settings.client(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=MAX_BATCH_BYTES,
            partitioner=Partitioner(),
            max_request_size=MAX_REQUEST_BYTES,
        )
        # Of its connections alone. As an argument it would also be the time after which a batch
        # without a leader is given up, and what is sent after a gap in the sequence is refused.
        self._kafka.client._request_timeout_ms = self._settings.request_timeout_ms
        try:
            await self._kafka.start()
        except KafkaConnectionError as error:
            await self._kafka.stop()
            raise InvalidSettings(
                f"KAFKA_BOOTSTRAP_SERVERS is {self._settings.bootstrap_servers!r}: "
                "no broker answers there"
            ) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await close_with_timeout("producer", self._kafka.stop())

    async def fetch_topics(self) -> frozenset[str]:
        """Return the names of the topics that exist."""
        metadata = await self._kafka.client.fetch_all_metadata()
        return frozenset(metadata.topics())

    async def publish(self, message: Message) -> None:
        """Publish a message and return when Kafka has acknowledged it.

        Waits as long as Kafka does not answer. Raises: KafkaError that is not retriable.
        """
        await self.publish_all((message,))

    async def publish_all(self, messages: Sequence[Output]) -> None:
        """Publish several messages together; those of one key stay in order."""
        if messages:
            await self.publish_batch((Publication(messages, tracing.inject()),))

    async def publish_batch(self, publications: Sequence[Publication]) -> None:
        """Publish what several messages have led to, as ``publish_all`` does; return when Kafka has
        acknowledged all of it. The messages of a publication are sent in their order; those of
        different publications wait for nothing of each other, so that they must not have keys in
        common whose order matters.

        Each is called back as soon as its own messages are acknowledged: it does not wait for those
        of a partition without a leader. Raises: as ``publish``, and what was raised when one was
        called back.
        """
        waiting = [_Sending(each) for each in publications]
        attempt = 0
        while waiting:
            attempt += 1
            failed = await self._send_all(waiting)
            for error in failed.values():
                # A repetition may write a message twice, like a redelivery: every consumer of ours
                # is idempotent.
                if not _may_be_repeated(error):
                    raise error
            if waiting := list(failed):
                await self._prepare_retry(attempt, failed.values())

    async def _prepare_retry(self, attempt: int, errors: Collection[KafkaError]) -> None:
        logger.warning(
            "publishing failed at attempt %d with %s",
            attempt,
            ", ".join(sorted({type(error).__name__ for error in errors})),
        )
        if any(isinstance(error, UnknownTopicOrPartitionError) for error in errors):
            self._drop_connections()
        await asyncio.sleep(self._backoff.delay(attempt))

    def _drop_connections(self) -> None:
        """Have the next request open a connection of its own. What is under way is sent again.

        aiokafka 0.14 keeps a connection on which the topics were asked for and nothing came, and
        asks on it for ever: after packets were swallowed that never ends by itself.
        """
        for connection in tuple(self._kafka.client._conns.values()):
            connection.close()

    async def _send_all(self, waiting: Sequence[_Sending]) -> dict[_Sending, KafkaError]:
        """Send each once, and return those that were not acknowledged with their errors."""
        if len(waiting) == 1:  # as most are under light load: it needs no task of its own
            errors = [await self._send(waiting[0])]
        else:
            errors = await asyncio.gather(*map(self._send, waiting))
        return {
            each: error for each, error in zip(waiting, errors, strict=True) if error is not None
        }

    async def _send(self, sending: _Sending) -> KafkaError | None:
        """Return why it was not acknowledged; None: it was."""
        # Not by create_batch: for batches of our size it costs the same, and send_batch waits where
        # a batch of the partition is on its way.
        send = self._kafka.send
        try:
            acknowledgements = [
                # Waits where the partition has no leader and its batch is full.
                await send(each.topic, each.value, key=each.key, headers=each.headers)
                for each in sending.outgoing
            ]
            if len(acknowledgements) == 1:
                await acknowledgements[0]
            else:
                await asyncio.gather(*acknowledgements)
        except KafkaError as error:
            return error
        sending.on_acknowledged()
        return None


def _may_be_repeated(error: KafkaError) -> bool:
    # KafkaTimeoutError: the message never left, because its partition's batch stayed full.
    return error.retriable or isinstance(error, KafkaTimeoutError)


def _encode(output: Output, traceparent: str | None) -> Outgoing:
    if isinstance(output, InTrace):
        return encode(output.message, traceparent=output.traceparent)
    return encode(output, traceparent=traceparent)
