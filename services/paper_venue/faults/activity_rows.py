"""Which rows of the activity feed are told, in which order and how late, while a fault is on?"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults

Row = Mapping[str, Any]


class ActivityRowFaults:
    """Loses, doubles, holds back and swaps rows; without a fault each passes as it comes."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held_row: Row | None = None

    def apply(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Decimal]]:
        """What to tell, each with the seconds by which it is late."""
        for row in rows:
            if self._trigger(Fault.ROWS_MISSING, row):
                continue
            if self._held_row is None and self._trigger(Fault.ROWS_OUT_OF_ORDER, row):
                self._held_row = row
                continue
            late = self._trigger(Fault.ROWS_LATE, row)
            copies = 2 if self._trigger(Fault.ROWS_DOUBLED, row) else 1
            yield from [(row, late.seconds if late else Decimal(0))] * copies
            yield from ((held, Decimal(0)) for held in self.release_held())

    @property
    def has_held_row(self) -> bool:
        """A row waits for one to change places with."""
        return self._held_row is not None

    def release_held(self) -> list[Row]:
        """The row that was held back, also where none came to change places with it."""
        held, self._held_row = self._held_row, None
        return [] if held is None else [held]

    def _trigger(self, fault: Fault, row: Row) -> FaultOptions | None:
        return self._faults.trigger_for_row(fault, [row["proxyWallet"]])
