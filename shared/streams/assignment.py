"""The state of one partition while it is assigned to this instance."""

import asyncio
import time
from collections.abc import Callable

from aiokafka import TopicPartition

from shared.streams.offset_tracker import OffsetTracker


class PartitionAssignment:
    """One partition, from its assignment until it has been given back.

    It is open at first. Once closed, running handlers may finish and no other starts. Once ended,
    nothing of it is produced, finished or committed. A message that is unfinished at the end is
    not lost: its offset is not committed, so that it is delivered to the partition's next owner.
    """

    __slots__ = (
        "_busy_since",
        "_clock",
        "_closing",
        "_idle",
        "_offsets",
        "committed",
        "ended",
        "partition",
        "paused",
    )

    def __init__(
        self, partition: TopicPartition, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.partition = partition
        self._clock = clock
        self.committed: int | None = None
        self.paused = False
        self.ended = False
        self._offsets = OffsetTracker()
        self._busy_since: dict[int, float] = {}
        self._closing = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_open(self) -> bool:
        return not self._closing.is_set()

    @property
    def unfinished(self) -> int:
        return self._offsets.unfinished

    @property
    def uncommitted(self) -> int | None:
        """The offset to commit next. None: nothing has finished since the last commit."""
        committable = self._offsets.committable
        return None if committable == self.committed else committable

    @property
    def busy_since(self) -> float | None:
        """When the longest-running handler started; None: no handler runs."""
        # dicts keep their order
        return next(iter(self._busy_since.values()), None)

    def add(self, offset: int) -> None:
        self._offsets.add(offset)

    def start_handling(self, offset: int) -> None:
        self._busy_since[offset] = self._clock()
        self._idle.clear()

    def stop_handling(self, offset: int) -> None:
        del self._busy_since[offset]
        if not self._busy_since:
            self._idle.set()

    def finish(self, offset: int) -> bool:
        """Return whether there is something new to commit."""
        return self._offsets.finish(offset)

    def close(self) -> None:
        self._closing.set()

    def end(self) -> None:
        self.close()
        self.ended = True

    async def wait_until_idle(self) -> None:
        """Wait until no handler of this partition runs."""
        await self._idle.wait()

    async def wait_before_retry(self, offset: int, seconds: float) -> bool:
        """Wait before the next attempt at a message, which does not count as being handled then.

        Return whether the partition is to be given back.
        """
        self.stop_handling(offset)
        try:
            async with asyncio.timeout(seconds):
                return await self._closing.wait()
        except TimeoutError:
            return False
        finally:
            self.start_handling(offset)
