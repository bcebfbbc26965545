"""The work on one delivery, as its partition, its span and its duration show it."""

from collections.abc import Callable

from shared.observe import metrics, tracing
from shared.observe.metrics import MessageOutcome
from shared.streams.key_queues import Delivery


class Handling:
    """Begins when it is made. Its partition is not idle until it has ended or stopped."""

    __slots__ = ("_clock", "_started", "delivery", "span")

    def __init__(self, delivery: Delivery, *, group: str, clock: Callable[[], float]) -> None:
        """``group``: the consumer group, which is the service."""
        self.delivery, self._clock = delivery, clock
        self._started = clock()
        record, headers = delivery.record, delivery.headers
        delivery.assignment.start_handling(record.offset)
        self.span = tracing.start_processing_span(
            headers,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            group=group,
            message_type=headers.get("type", b"").decode("utf-8", "backslashreplace"),
        )

    def stop(self) -> None:
        """Nothing is counted: the work has failed, or is done elsewhere."""
        self.delivery.assignment.stop_handling(self.delivery.record.offset)

    def end(self, outcome: MessageOutcome) -> None:
        self.stop()
        self.span.end()
        metrics.message_handled(self.delivery.record.topic, self._clock() - self._started, outcome)
