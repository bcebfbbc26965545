"""Which cells has the matrix: what dies where, how its work goes on, and what the venue does
meanwhile.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.paper_venue.faults.catalogue import Fault
from shared.messages.orders import OrderState
from tests.crash_matrix.boundaries import BOUNDARIES, LEAVES_AN_ORDER_OPEN, Boundary, Point


class Recovery(StrEnum):
    RESTART = "restart"
    """The same instance again."""
    REBALANCE = "rebalance"
    """Another instance takes over its partitions."""
    ZOMBIE = "zombie"
    """It stands still, another instance takes over, and then it goes on."""


class VenueFault(StrEnum):
    """What the venue does to the copies of a cell."""

    PLAIN = "plain"
    REPLY_LOST = "reply lost"
    REPLY_LATE = "reply late"
    KILLED_PARTIAL = "killed with partial fill"
    LATE_FAILED = "late FAILED"
    REST_OF_EXIT = "rest of an exit"
    """An exit was killed with a partial fill, and is over: the copy is what it left over, which
    goes around again."""


FAULT_BY_VENUE_FAULT = {
    VenueFault.REPLY_LOST: Fault.DROP_REPLY,
    VenueFault.REPLY_LATE: Fault.LATE_REPLY,
    VenueFault.KILLED_PARTIAL: Fault.KILLED_PARTIAL,
    VenueFault.LATE_FAILED: Fault.FAILED,
    VenueFault.REST_OF_EXIT: Fault.KILLED_PARTIAL,
}


class Finding(StrEnum):
    """What can be wrong after a cell."""

    NOT_REACHED = "the boundary was not reached"
    UNRESOLVED = "not final"
    LOST = "lost"
    DOUBLED = "doubled"
    BOOKS = "books differ"
    BROKEN = "the run broke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    boundary: Boundary
    recovery: Recovery
    venue_fault: VenueFault = VenueFault.PLAIN
    ordering: str = ""
    """One of the wrong ones; empty: ours."""
    must_find: Finding | None = None
    """A control's: without it the matrix would not notice such a fault."""

    @property
    def name(self) -> str:
        control = f" ({self.ordering})" if self.ordering else ""
        return f"{self.boundary.name}, {self.recovery}, {self.venue_fault}{control}"

    @property
    def strikes_by(self) -> signal.Signals:
        return signal.SIGSTOP if self.recovery is Recovery.ZOMBIE else signal.SIGKILL

    @property
    def first(self) -> tuple[Boundary, signal.Signals]:
        """What is armed before there is a copy, and by which signal it strikes."""
        return (
            (LEAVES_AN_ORDER_OPEN, signal.SIGKILL)
            if self.boundary.point.at_start
            else (self.boundary, self.strikes_by)
        )

    @property
    def outcome(self) -> OrderState:
        return (
            OrderState.FAILED
            if self.venue_fault is VenueFault.LATE_FAILED
            else OrderState.CONFIRMED
        )


def cell(
    boundary: str, recovery: Recovery = Recovery.RESTART, weather: VenueFault = VenueFault.PLAIN
) -> Cell:
    return Cell(boundary=BOUNDARIES[boundary], recovery=recovery, venue_fault=weather)


CONTROLS = (
    Cell(
        boundary=BOUNDARIES["executor: after post"],
        recovery=Recovery.RESTART,
        ordering="place, then record",
        must_find=Finding.DOUBLED,
    ),
    Cell(
        boundary=BOUNDARIES["executor: sent post"],
        recovery=Recovery.RESTART,
        ordering="record, then treat unknown as failed",
        must_find=Finding.LOST,
    ),
)

SHORT = (
    cell("executor: after record the order"),
    cell("executor: sent post", weather=VenueFault.REPLY_LOST),
    cell("executor: after post", weather=VenueFault.KILLED_PARTIAL),
    cell("executor: after produce OrderReported"),
    cell("executor: before post", Recovery.ZOMBIE),
    cell("executor: sent record the trade", Recovery.REBALANCE),
    cell("ingest: after record the trade"),
    cell("preflight: uncommitted record the verdict"),
    *CONTROLS,
)
"""One of each kind, the controls among them: what fits into a test run."""


def full() -> Iterator[Cell]:
    """Every boundary of every service under all recoveries, and those of the executor in all
    weathers; then the controls.
    """
    for weather in VenueFault:
        for recovery in Recovery:
            for boundary in BOUNDARIES.values():
                if (
                    weather is VenueFault.PLAIN or boundary.point.service == "executor"
                ) and _is_passed(boundary.point, weather):
                    yield Cell(boundary=boundary, recovery=recovery, venue_fault=weather)
    yield from CONTROLS


def _is_passed(point: Point, weather: VenueFault) -> bool:
    if weather is VenueFault.LATE_FAILED and point.needs_chain:
        return False
    return weather is VenueFault.REST_OF_EXIT or not point.needs_rest
