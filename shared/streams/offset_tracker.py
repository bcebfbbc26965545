"""Tracks which offset of a partition may be committed: that of its oldest unfinished message."""

from collections import deque


class OffsetTracker:
    """Messages are added in the order of their offsets and finish in any order.

    The committable offset never passes an unfinished message.
    """

    __slots__ = ("_finished_early", "_pending", "committable")

    def __init__(self) -> None:
        self._pending: deque[int] = deque()
        """The oldest unfinished offset and all that were added after it."""
        self._finished_early: set[int] = set()
        """Those of ``_pending`` that finished before an older one."""
        self.committable: int | None = None
        """The offset to continue from after a restart. None: nothing has finished, so that the
        committed offset stays as it is."""

    @property
    def unfinished(self) -> int:
        """How many messages were added and have not finished."""
        return len(self._pending) - len(self._finished_early)

    def add(self, offset: int) -> None:
        self._pending.append(offset)

    def finish(self, offset: int) -> bool:
        """Note that ``offset``, added before, is finished. Return whether ``committable`` moved."""
        pending, early = self._pending, self._finished_early
        if offset != pending[0]:
            early.add(offset)
            return False
        pending.popleft()
        while pending and pending[0] in early:
            offset = pending.popleft()
            early.remove(offset)
        self.committable = offset + 1
        return True
