"""For how long the rows of copies are kept, and which trades are older than that."""

from datetime import datetime, timedelta

KEPT_FOR = timedelta(weeks=5)
"""The rows of a copy are kept for at least so long after it was intended: longer than every topic
(four weeks, and one for the segment that Kafka still writes)."""


def may_be_pruned(at: datetime, *, now: datetime) -> bool:
    """Whether the rows of what happened at that time may have been pruned: then nothing tells
    whether it was copied, and it must not be copied now.
    """
    return now - at > KEPT_FOR
