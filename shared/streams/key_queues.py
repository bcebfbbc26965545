"""Processes the messages of each key one at a time, and those of different keys concurrently."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from shared.streams.assignment import PartitionAssignment
from shared.streams.codec import Record
from shared.streams.dead_letter_store import StoredDeadLetter


class Delivery(NamedTuple):
    """A record, and the assignment of its partition under which it was received."""

    assignment: PartitionAssignment
    record: Record
    dead_letter: StoredDeadLetter | None = None
    """The record itself, where it is a stored dead letter that is handled again."""


class KeyQueues:
    """One task for each key that has deliveries, from all topics; it ends with the key's last one.

    The topics of a key take turns: Kafka keeps no order between topics, and an intent must not wait
    behind a dozen reports of older orders. ``process`` processes one delivery. What it raises is
    passed to ``on_failed``, and the key's later deliveries are not processed.
    """

    def __init__(
        self,
        process: Callable[[Delivery], Awaitable[None]],
        on_failed: Callable[[Delivery, BaseException], None],
    ) -> None:
        self._process, self._on_failed = process, on_failed
        self._queues: dict[bytes | None, dict[str, deque[Delivery]]] = {}
        """By key and topic; the first topic of a key is the next one that is processed."""
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, delivery: Delivery) -> None:
        key, topic = delivery.record.key, delivery.record.topic
        if (queue := self._queues.get(key)) is not None:
            queue.setdefault(topic, deque()).append(delivery)
            return
        self._queues[key] = queue = {topic: deque((delivery,))}
        task = asyncio.create_task(self._run(key, queue))
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    async def _run(self, key: bytes | None, queue: dict[str, deque[Delivery]]) -> None:
        while queue:
            topic, waiting = next(iter(queue.items()))
            await self._process_one(waiting[0])
            waiting.popleft()
            del queue[topic]
            if waiting:
                queue[topic] = waiting
        del self._queues[key]

    async def _process_one(self, delivery: Delivery) -> None:
        if not delivery.assignment.is_open:
            return
        try:
            await self._process(delivery)
        except BaseException as error:
            # Also a stray CancelledError: without a stop of the process the key would wait forever.
            self._on_failed(delivery, error)
            raise

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Retrieved, or asyncio would log the error with its text; `on_failed` has got it.
            task.exception()

    async def cancel(self) -> None:
        """Cancel the running tasks; like after a crash, none of their messages is finished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
