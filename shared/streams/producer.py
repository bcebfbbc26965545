"""Publishes messages and waits until Kafka has acknowledged them."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from shared.domain.errors import InvalidSettings
from shared.messages.base import Message
from shared.observe import tracing
from shared.streams.backoff import Backoff
from shared.streams.closing import close_with_timeout
from shared.streams.codec import encode
from shared.streams.partitioning import Partitioner
from shared.streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""A dead letter contains a whole record of Kafka's maximum size (1 MiB) in base64."""


class Publication(NamedTuple):
    """What is published about one message, and in which trace."""

    messages: Sequence[Message]
    traceparent: str | None
    on_acknowledged: Callable[[], None] = lambda: None


class _Sending:
    """A publication that Kafka has not acknowledged."""

    __slots__ = ("_on_acknowledged", "outgoing")

    def __init__(self, publication: Publication) -> None:
        messages, traceparent, self._on_acknowledged = publication
        self.outgoing = [encode(message, traceparent=traceparent) for message in messages]

    def on_done(self, acknowledged: asyncio.Future[Any]) -> None:
        if not acknowledged.cancelled() and acknowledged.exception() is None:
            self._on_acknowledged()


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

    async def publish_all(self, messages: Sequence[Message]) -> None:
        """Publish several messages together; those of one key stay in order."""
        if messages:
            await self.publish_batch((Publication(messages, tracing.inject()),))

    async def publish_batch(self, publications: Sequence[Publication]) -> None:
        """Publish what several messages have led to, as ``publish_all`` does; return when Kafka has
        acknowledged all of it.

        Each is called back as soon as its own messages are acknowledged: it does not wait for those
        of a partition without a leader.
        """
        waiting = [_Sending(each) for each in publications]
        attempt = 0
        while waiting:
            attempt += 1
            failed = await self._send_all(waiting)
            for error in failed.values():
                # A repetition may write a message twice, like a redelivery: every consumer of ours
                # is idempotent.
                if not error.retriable:
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
        failed: dict[_Sending, KafkaError] = {}
        sent = []
        for each in waiting:
            try:
                sent.append((each, await self._send(each)))
            except KafkaError as error:
                failed[each] = error
        for each, acknowledgement in sent:
            try:
                await acknowledgement
            except KafkaError as error:
                failed[each] = error
        return failed

    async def _send(self, sending: _Sending) -> asyncio.Future[Any]:
        # Not by create_batch: for batches of our size it costs the same, and send_batch waits where
        # a batch of the partition is on its way, while those of other partitions wait behind it.
        send = self._kafka.send
        acknowledgements = [
            await send(each.topic, each.value, key=each.key, headers=each.headers)
            for each in sending.outgoing
        ]
        acknowledged: asyncio.Future[Any] = (
            acknowledgements[0] if len(acknowledgements) == 1 else asyncio.gather(*acknowledgements)
        )
        acknowledged.add_done_callback(sending.on_done)
        return acknowledged
