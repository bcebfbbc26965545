"""Orders the deliveries of each key: one at a time is under way, alone or in a batch."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from shared.streams.assignment import PartitionAssignment
from shared.streams.codec import Record, with_values
from shared.streams.dead_letter_store import StoredDeadLetter
from shared.streams.running_tasks import RunningTasks


@dataclass(slots=True, eq=False)
class Delivery:
    """A record, and the assignment of its partition under which it was received."""

    assignment: PartitionAssignment
    record: Record
    dead_letter: StoredDeadLetter | None = None
    """The record itself, where it is a stored dead letter that is handled again."""
    headers: Mapping[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = dict(with_values(self.record.headers))


class KeyQueues:
    """The next delivery of a key begins when the one before it is done.

    ``gather`` is offered every delivery whose turn it is, and takes those that a batch handles:
    such a key goes on at ``release`` or ``process_alone``. Every other delivery is passed to
    ``process``, in one task for each key, which ends with the key's last one. What that raises is
    passed to ``on_failed``, and the key's later deliveries are not processed.

    The topics of a key take turns: Kafka keeps no order between topics, and an intent must not wait
    behind a dozen reports of older orders.
    """

    def __init__(
        self,
        process: Callable[[Delivery], Awaitable[None]],
        on_failed: Callable[[Delivery, BaseException], None],
        gather: Callable[[Delivery], bool] = lambda _: False,
    ) -> None:
        self._process, self._on_failed, self._gather = process, on_failed, gather
        self._queues: dict[bytes | None, dict[str, deque[Delivery]]] = {}
        """What waits, by key and topic, for every key that has a delivery under way; the first
        topic of a key has the next turn."""
        self._tasks = RunningTasks()

    def put(self, delivery: Delivery) -> None:
        key, topic = delivery.record.key, delivery.record.topic
        if (queue := self._queues.get(key)) is not None:
            queue.setdefault(topic, deque()).append(delivery)
            return
        self._queues[key] = {}
        self._begin(delivery)

    def release(self, delivery: Delivery) -> None:
        """Go on with the key of a delivery of a batch that is done."""
        if (following := self._take_next(delivery)) is not None:
            self._begin(following)

    def process_alone(self, delivery: Delivery) -> None:
        """Process a delivery that its batch did not finish."""
        self._tasks.start(self._run(delivery))

    async def cancel(self) -> None:
        """Cancel the running tasks; like after a crash, none of their messages is finished."""
        await self._tasks.cancel()

    def _begin(self, delivery: Delivery) -> None:
        if not self._gather(delivery):
            self.process_alone(delivery)

    async def _run(self, delivery: Delivery) -> None:
        following: Delivery | None = delivery
        while following is not None:
            await self._process_one(following)
            following = self._take_next(following)
            if following is not None and self._gather(following):
                return

    async def _process_one(self, delivery: Delivery) -> None:
        if not delivery.assignment.is_open:
            return
        try:
            await self._process(delivery)
        except BaseException as error:
            # Also a stray CancelledError: without a stop of the process the key would wait forever.
            self._on_failed(delivery, error)
            raise

    def _take_next(self, done: Delivery) -> Delivery | None:
        """Take the delivery that follows ``done``. None: nothing of its key waits."""
        key, topic = done.record.key, done.record.topic
        queue = self._queues[key]
        if (waiting := queue.pop(topic, None)) is not None:
            queue[topic] = waiting
        if not queue:
            del self._queues[key]
            return None
        topic, waiting = next(iter(queue.items()))
        following = waiting.popleft()
        if not waiting:
            del queue[topic]
        return following
