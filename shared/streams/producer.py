"""How does a message get onto its topic for certain?"""

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from shared.domain.errors import InvalidSettings
from shared.messages.base import Message
from shared.observe import tracing
from shared.streams.backoff import Backoff
from shared.streams.closing import close_with_timeout
from shared.streams.codec import Outgoing, encode
from shared.streams.partitioning import Partitioner
from shared.streams.settings import KafkaSettings

log = logging.getLogger(__name__)

LARGEST_REQUEST = 4 * 1024 * 1024
"""A dead letter holds a whole message of Kafka's largest size (1 MiB) in base64."""


class Producer:
    """The process's one producer: idempotent, acknowledged by all in-sync replicas. An async
    context manager.
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
            max_request_size=LARGEST_REQUEST,
        )
        try:
            await self._kafka.start()
        except KafkaConnectionError as error:
            await self._kafka.stop()
            raise InvalidSettings(
                f"KAFKA_BOOTSTRAP_SERVERS is {self._settings.bootstrap_servers!r}: no broker answers there"
            ) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await close_with_timeout("producer", self._kafka.stop())

    async def topics(self) -> frozenset[str]:
        """The topics that exist."""
        metadata = await self._kafka.client.fetch_all_metadata()
        return frozenset(metadata.topics())

    async def publish(self, message: Message) -> None:
        """Returns when Kafka has acknowledged the message; waits as long as Kafka is away. Raises:
        KafkaError that waiting cannot cure.
        """
        await self.publish_all((message,))

    async def publish_all(self, messages: Sequence[Message]) -> None:
        """The same for several, which go out together; messages of one key stay in order."""
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
                # A repetition doubles what was already written, as a redelivery would: every
                # consumer of ours can take that.
                if not error.retriable:
                    raise
                log.warning("produce failed with %s, attempt %d", type(error).__name__, attempt)
                await asyncio.sleep(self._backoff.delay(attempt))

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
