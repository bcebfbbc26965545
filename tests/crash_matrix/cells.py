"""The cells of the matrix: where a service dies, how its work continues, and the venue's fault."""

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
    """It is stopped, another instance takes over, and then it is resumed."""


class VenueFault(StrEnum):
    """What the venue does to the copies of a cell."""

    PLAIN = "plain"
    """None."""
    REPLY_LOST = "reply lost"
    REPLY_LATE = "reply late"
    KILLED_PARTIAL = "killed with partial fill"
    LATE_FAILED = "late FAILED"
    REMAINDER = "remainder of an exit"
    """An exit was killed with a partial fill and is final: the copy is its remainder."""


PAPER_VENUE_FAULTS = {
    VenueFault.REPLY_LOST: Fault.DROP_REPLY,
    VenueFault.REPLY_LATE: Fault.LATE_REPLY,
    VenueFault.KILLED_PARTIAL: Fault.KILLED_PARTIAL,
    VenueFault.LATE_FAILED: Fault.FAILED,
    VenueFault.REMAINDER: Fault.KILLED_PARTIAL,
}
"""The fault of the paper venue that is switched on for it."""

WITHOUT_MATCHED_REPLY = (VenueFault.REPLY_LOST, VenueFault.REPLY_LATE, VenueFault.KILLED_PARTIAL)
"""Under these the venue's reply to the first post does not say that the order was matched."""


class Finding(StrEnum):
    """What can be wrong after a cell was run."""

    NOT_REACHED = "the boundary was not reached"
    UNRESOLVED = "not final"
    LOST = "lost"
    DOUBLED = "doubled"
    RECORDS = "records differ"
    RUN_FAILED = "the run failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    boundary: Boundary
    recovery: Recovery
    venue_fault: VenueFault = VenueFault.PLAIN
    ordering: str = ""
    """A wrong order of effects, which the executor runs instead of ours; empty: ours."""
    expected_finding: Finding | None = None
    """Of a control, which fails without it: the matrix would not notice such a defect."""

    @property
    def name(self) -> str:
        control = f" ({self.ordering})" if self.ordering else ""
        return f"{self.boundary.name}, {self.recovery}, {self.venue_fault}{control}"

    @property
    def crash_signal(self) -> signal.Signals:
        return signal.SIGSTOP if self.recovery is Recovery.ZOMBIE else signal.SIGKILL

    @property
    def first_crash(self) -> tuple[Boundary, signal.Signals]:
        """The boundary that is armed before there is a copy, and the signal sent at it."""
        return (
            (LEAVES_AN_ORDER_OPEN, signal.SIGKILL)
            if self.boundary.point.at_start
            else (self.boundary, self.crash_signal)
        )

    @property
    def expected_outcome(self) -> OrderState:
        return (
            OrderState.FAILED
            if self.venue_fault is VenueFault.LATE_FAILED
            else OrderState.CONFIRMED
        )


def cell(
    boundary: str, recovery: Recovery = Recovery.RESTART, venue_fault: VenueFault = VenueFault.PLAIN
) -> Cell:
    return Cell(boundary=BOUNDARIES[boundary], recovery=recovery, venue_fault=venue_fault)


CONTROLS = (
    Cell(
        boundary=BOUNDARIES["executor: after post"],
        recovery=Recovery.RESTART,
        ordering="place, then record",
        expected_finding=Finding.DOUBLED,
    ),
    Cell(
        boundary=BOUNDARIES["executor: sent post"],
        recovery=Recovery.RESTART,
        ordering="record, then treat unknown as failed",
        expected_finding=Finding.LOST,
    ),
)

SHORT = (
    cell("executor: after record the order"),
    cell("executor: sent post", venue_fault=VenueFault.REPLY_LOST),
    cell("executor: after post", venue_fault=VenueFault.KILLED_PARTIAL),
    cell("executor: after produce OrderReported"),
    cell("executor: before post", Recovery.ZOMBIE),
    cell("executor: sent record the trade", Recovery.REBALANCE),
    cell("ingest: after record the trade"),
    cell("preflight: sent record the verdict"),
    *CONTROLS,
)
"""One cell of each kind, and the controls: what fits into a test run."""


def all_cells() -> Iterator[Cell]:
    """Every boundary of every service under all recoveries, and those of the executor under all
    faults of the venue; then the controls.
    """
    for venue_fault in VenueFault:
        for recovery in Recovery:
            for boundary in BOUNDARIES.values():
                if (
                    venue_fault is VenueFault.PLAIN
                    or boundary.point.service == "executor"
                    or boundary.point.needs_remainder
                ) and _is_reached(boundary.point, venue_fault):
                    yield Cell(boundary=boundary, recovery=recovery, venue_fault=venue_fault)
    yield from CONTROLS


def _is_reached(point: Point, venue_fault: VenueFault) -> bool:
    if point.needs_matched_reply and venue_fault in WITHOUT_MATCHED_REPLY:
        return False
    if venue_fault is VenueFault.LATE_FAILED and point.needs_settlement:
        return False
    return venue_fault is VenueFault.REMAINDER or not point.needs_remainder
