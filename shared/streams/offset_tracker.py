"""Which offset of a partition may be committed? That of its oldest unfinished message."""

from collections import deque


class OffsetTracker:
    """Messages begin in the order of their offsets and finish in any; what is committable never
    passes an unfinished one.
    """

    __slots__ = ("_begun", "_finished_early", "committable")

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        self._finished_early: set[int] = set()
        self.committable: int | None = None
        """The offset to read on from after a restart. None: nothing has been finished, leave what
        is committed."""

    @property
    def unfinished(self) -> int:
        return len(self._begun) - len(self._finished_early)

    def begin(self, offset: int) -> None:
        self._begun.append(offset)

    def finish(self, offset: int) -> bool:
        """Note that ``offset``, begun before, is finished. Returns whether ``committable`` moved."""
        begun, early = self._begun, self._finished_early
        if offset != begun[0]:
            early.add(offset)
            return False
        begun.popleft()
        while begun and begun[0] in early:
            offset = begun.popleft()
            early.remove(offset)
        self.committable = offset + 1
        return True
