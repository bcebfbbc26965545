"""Loses, doubles, delays and reorders activity rows while a fault is on."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults

Row = Mapping[str, Any]


class ActivityRowFaults:
    """Decides which rows are sent, in which order and how late; without a fault, all unchanged."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held_row: Row | None = None

    def apply(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Decimal]]:
        """The rows to send, each with its delay in seconds."""
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
        """Whether a row is held until the next one, with which it will be swapped."""
        return self._held_row is not None

    def release_held(self) -> list[Row]:
        """The held row, if any; it is held no longer."""
        held, self._held_row = self._held_row, None
        return [] if held is None else [held]

    def _trigger(self, fault: Fault, row: Row) -> FaultOptions | None:
        return self._faults.trigger_for_row(fault, [row["proxyWallet"]])
