"""Read the services' topics while the demo runs, without a consumer group, so that no service is
affected.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from cli.demo.copies import COPY_MESSAGES, Copies
from shared.clock import utc_now
from shared.messages.dead_letters import DeadLetter, FrameParked
from shared.streams.codec import Decoder
from shared.streams.settings import KafkaSettings
from tools.stack.errors import StackError

POLL_MS = 200
TOPICS = tuple(sorted({kind.topic for kind in COPY_MESSAGES} | {DeadLetter.topic}))


class TopicReader:
    """Collects what is published after its creation in ``copies`` and ``dead_letters``."""

    def __init__(self, settings: KafkaSettings, market_names: Mapping[str, str]) -> None:
        """``market_names``: title and outcome by token id."""
        self.copies = Copies(market_names)
        self.dead_letters: list[str] = []
        # From the declaration: a client that has just connected may not know new topics yet.
        self._partitions = [
            TopicPartition(topic, number)
            for topic in TOPICS
            for number in range(settings.partitions)
        ]
        self._consumer = AIOKafkaConsumer(**settings.client(), auto_offset_reset="earliest")
        self._since = utc_now()
        self._decoder = Decoder((*COPY_MESSAGES, DeadLetter, FrameParked))

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        self._reading = asyncio.create_task(self._read(), name="topic reader")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        await asyncio.wait({self._reading})
        await self._consumer.stop()

    async def catch_up(self) -> None:
        """Return when everything that is on the topics now has been read.

        Raises: StackError, and any error that ended the reading.
        """
        try:
            ends = await self._consumer.end_offsets(self._partitions)
        except KafkaError as error:
            raise StackError(f"the end offsets of the topics cannot be fetched: {error}") from error
        for partition, end in ends.items():
            while await self._consumer.position(partition) < end:
                self.check()
                await asyncio.sleep(POLL_MS / 1000)
        self.check()

    def check(self) -> None:
        """Raises the error that ended the reading, if there is one."""
        if self._reading.done():
            self._reading.result()

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    self._on(record)

    def _on(self, record: ConsumerRecord) -> None:
        kind = self._decoder.resolve_type(dict(record.headers))
        message = self._decoder.decode(kind, record)
        if message.occurred_at < self._since:
            return
        if isinstance(message, DeadLetter | FrameParked):
            source = message.service if isinstance(message, DeadLetter) else message.feed
            self.dead_letters.append(f"{source}: {message.reason}")
        elif isinstance(message, COPY_MESSAGES):
            self.copies.add(message)
