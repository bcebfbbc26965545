"""What do the services say on their topics while the demo runs? Read beside them, without a group:
nobody is disturbed.
"""

import asyncio
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from cli.demo.copies import TOLD, Copies
from shared.clock import utc_now
from shared.messages.dead_letters import DeadLetter, FrameParked
from shared.streams.codec import Decoder
from shared.streams.settings import KafkaSettings
from tools.stack.errors import StackError

POLL_MS = 200
TOPICS = tuple(sorted({kind.topic for kind in TOLD} | {DeadLetter.topic}))


class Tape:
    """Everything that has happened since entering and is told, gathered in ``copies`` and
    ``dead_letters``.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.copies = Copies()
        self.dead_letters: list[str] = []
        # By the declaration: a client that has just connected may not have heard of topics that
        # were just made.
        self._partitions = [
            TopicPartition(topic, number)
            for topic in TOPICS
            for number in range(settings.partitions)
        ]
        self._consumer = AIOKafkaConsumer(**settings.client(), auto_offset_reset="earliest")
        self._since = utc_now()
        self._decoder = Decoder((*TOLD, DeadLetter, FrameParked))

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        self._reading = asyncio.create_task(self._read(), name="tape")
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
        """Return once all that is on the topics now has been read. Raises: StackError; what ended
        the reading, if anything did.
        """
        try:
            ends = await self._consumer.end_offsets(self._partitions)
        except KafkaError as error:
            raise StackError(f"Kafka does not tell where the topics end: {error}") from error
        for partition, end in ends.items():
            while await self._consumer.position(partition) < end:
                self.check()
                await asyncio.sleep(POLL_MS / 1000)
        self.check()

    def check(self) -> None:
        """Raises what ended the reading, if anything did."""
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
            self.dead_letters.append(
                f"{message.service if isinstance(message, DeadLetter) else message.feed}: {message.reason}"
            )
        elif isinstance(message, TOLD):
            self.copies.on(message)
