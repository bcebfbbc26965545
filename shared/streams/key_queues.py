"""How do the messages of one key stay in order while no key waits for another?"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from shared.streams.assignment import PartitionAssignment
from shared.streams.codec import Record
from shared.streams.dead_letter_store import StoredDeadLetter


class Delivery(NamedTuple):
    """A record, and the tenure of its partition under which it was taken."""

    assignment: PartitionAssignment
    record: Record
    dead_letter: StoredDeadLetter | None = None
    """The record itself, where it is a parked one that is handled again."""


class KeyQueues:
    """A task for each key that has work, whatever topics it came from; it ends with the key's last
    message.

    Its topics take turns: Kafka keeps no order between them, and an intent must not wait behind a
    dozen reports of older orders. ``carry_out`` does one piece of work; what it raises goes to
    ``failed``, and the key's later messages stay where they are.
    """

    def __init__(
        self,
        carry_out: Callable[[Delivery], Awaitable[None]],
        failed: Callable[[Delivery, BaseException], None],
    ) -> None:
        self._carry_out, self._failed = carry_out, failed
        self._lanes: dict[bytes | None, dict[str, deque[Delivery]]] = {}
        """By key and topic; a lane's first topic is the one whose turn it is."""
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, work: Delivery) -> None:
        key, topic = work.record.key, work.record.topic
        if (lane := self._lanes.get(key)) is not None:
            lane.setdefault(topic, deque()).append(work)
            return
        self._lanes[key] = lane = {topic: deque((work,))}
        task = asyncio.create_task(self._run(key, lane))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _run(self, key: bytes | None, lane: dict[str, deque[Delivery]]) -> None:
        while lane:
            topic, waiting = next(iter(lane.items()))
            await self._carry_out_one(waiting[0])
            waiting.popleft()
            del lane[topic]
            if waiting:
                lane[topic] = waiting
        del self._lanes[key]

    async def _carry_out_one(self, work: Delivery) -> None:
        if not work.assignment.open:
            return
        try:
            await self._carry_out(work)
        except BaseException as error:  # also a stray CancelledError: what ends a lane stops the process, or the key would wait for ever
            self._failed(work, error)
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # `failed` has it; asyncio would print it, with whatever its text holds
            task.exception()

    async def cancel(self) -> None:
        """End what still runs, as a crash would: nothing of it is finished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
