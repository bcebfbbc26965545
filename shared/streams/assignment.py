"""What do we know of one partition, from the moment it is assigned to us until we have given it
back?
"""

import asyncio
import time
from collections.abc import Callable

from aiokafka import TopicPartition

from shared.streams.offset_tracker import OffsetTracker


class PartitionAssignment:
    """Open, then closing (what runs may finish, nothing starts), then ended (nothing is produced,
    finished or committed any more).

    A message that is unfinished at the end is not lost: its offset is not committed, so that
    whoever holds the partition next gets it.
    """

    __slots__ = (
        "_busy_since",
        "_clock",
        "_closing",
        "_progress",
        "_quiet",
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
        self._progress = OffsetTracker()
        self._busy_since: dict[int, float] = {}
        self._closing = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def open(self) -> bool:
        return not self._closing.is_set()

    @property
    def unfinished(self) -> int:
        return self._progress.unfinished

    @property
    def uncommitted(self) -> int | None:
        """The offset that is to be committed next; None: there is nothing new."""
        committable = self._progress.committable
        return None if committable == self.committed else committable

    @property
    def busy_since(self) -> float | None:
        """When the handler that has been running longest began; dicts keep their order."""
        return next(iter(self._busy_since.values()), None)

    def take(self, offset: int) -> None:
        self._progress.begin(offset)

    def enter(self, offset: int) -> None:
        self._busy_since[offset] = self._clock()
        self._quiet.clear()

    def leave(self, offset: int) -> None:
        del self._busy_since[offset]
        if not self._busy_since:
            self._quiet.set()

    def finish(self, offset: int) -> bool:
        """Whether there is something new to commit."""
        return self._progress.finish(offset)

    def close(self) -> None:
        self._closing.set()

    def end(self) -> None:
        self.close()
        self.ended = True

    async def quiet(self) -> None:
        """Wait until no handler of this partition runs."""
        await self._quiet.wait()

    async def rest(self, offset: int, seconds: float) -> bool:
        """Wait between two attempts at a message, which is then neither busy nor stuck. Whether the
        partition is to be given back.
        """
        self.leave(offset)
        try:
            async with asyncio.timeout(seconds):
                return await self._closing.wait()
        except TimeoutError:
            return False
        finally:
            self.enter(offset)
