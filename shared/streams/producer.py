"""Publishes messages and waits until Kafka has acknowledged them."""

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from shared.domain.errors import InvalidSettings
from shared.messages.base import Message
from shared.observe import tracing
from shared.streams.backoff import Backoff
from shared.streams.closing import close_with_timeout
from shared.streams.codec import Outgoing, encode
from shared.streams.partitioning import Partitioner
from shared.streams.settings import KafkaSettings

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""A dead letter contains a whole record of Kafka's maximum size (1 MiB) in base64."""


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
        if not messages:
            return
        traceparent = tracing.inject()
        await self._until_acknowledged(
            [encode(message, traceparent=traceparent) for message in messages]
        )

    async def _until_acknowledged(self, outgoing: Sequence[Outgoing]) -> None:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send(outgoing)
            except KafkaError as error:
                # A repetition may write a message twice, like a redelivery: every consumer of ours
                # is idempotent.
                if not error.retriable:
                    raise
                logger.warning(
                    "publishing failed at attempt %d with %s", attempt, type(error).__name__
                )
                if isinstance(error, UnknownTopicOrPartitionError):
                    self._drop_connections()
                await asyncio.sleep(self._backoff.delay(attempt))

    def _drop_connections(self) -> None:
        """Have the next request open a connection of its own. What is under way is sent again.

        aiokafka 0.14 keeps a connection on which the topics were asked for and nothing came, and
        asks on it for ever: after packets were swallowed that never ends by itself.
        """
        for connection in tuple(self._kafka.client._conns.values()):
            connection.close()

    async def _send(self, outgoing: Sequence[Outgoing]) -> None:
        send = self._kafka.send
        acknowledgements = [
            await send(each.topic, each.value, key=each.key, headers=each.headers)
            for each in outgoing
        ]
        if len(acknowledgements) == 1:
            await acknowledgements[0]
        else:
            await asyncio.gather(*acknowledgements)
