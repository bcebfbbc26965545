"""Topics in memory, in place of Kafka: the messages of a key stay in order for each consumer, and
what is not finished is delivered again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.messages.base import Message

Queue = tuple[str, str, str]
"""A consumer, one of its topics, and a key."""


@dataclass(frozen=True, slots=True)
class Delivery:
    queue: Queue
    message: Message
    offset: int


@dataclass
class _Log:
    messages: list[Message] = field(default_factory=list)
    finished: int = 0
    """How many of the messages are finished."""


class KeyTopics:
    def __init__(self, consumers_by_topic: Mapping[str, str]) -> None:
        self._consumers_by_topic = consumers_by_topic
        self._logs: dict[Queue, _Log] = {}
        self._withheld: set[tuple[str, str]] = set()
        """Consumers and keys of which a message is being handled, by an instance that is paused:
        the messages of a key are handled one at a time, from all topics."""
        self.published: list[Message] = []

    def publish(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.published.append(message)
            consumer = self._consumers_by_topic.get(message.topic)
            if consumer is not None:
                queue = (consumer, message.topic, message.key().decode())
                self._logs.setdefault(queue, _Log()).messages.append(message)

    def waiting(self) -> Sequence[Queue]:
        """The queues with unfinished messages, in the order in which they got their first one."""
        return [
            queue
            for queue, log in self._logs.items()
            if log.finished < len(log.messages) and (queue[0], queue[2]) not in self._withheld
        ]

    def next_delivery(self, queue: Queue) -> Delivery:
        log = self._logs[queue]
        return Delivery(queue, log.messages[log.finished], log.finished)

    def finish(self, delivery: Delivery) -> None:
        """Also of a message that another instance has finished meanwhile: that changes nothing."""
        log = self._logs[delivery.queue]
        log.finished = max(log.finished, delivery.offset + 1)

    def withhold(self, queue: Queue) -> None:
        self._withheld.add((queue[0], queue[2]))

    def release(self, queue: Queue) -> None:
        self._withheld.discard((queue[0], queue[2]))

    def rewind(self, consumer: str, by: int) -> None:
        """Deliver the last messages of each of its queues again: their offsets were not committed
        when the instance ended.
        """
        for (of_consumer, _, _), log in self._logs.items():
            if of_consumer == consumer:
                log.finished = max(0, log.finished - by)
