"""Which cells has the matrix: what dies where, how its work goes on, and what the venue does meanwhile."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from services.paper_venue.faults import Fault
from shared.messages.orders import OrderState
from tests.crash_matrix.boundaries import BOUNDARIES, Boundary


class Recovery(StrEnum):
    RESTART = "restart"
    """The same instance again."""
    REBALANCE = "rebalance"
    """Another instance takes over its partitions."""
    ZOMBIE = "zombie"
    """It stands still, another instance takes over, and then it goes on."""


class Weather(StrEnum):
    """What the venue does to the copies of a cell."""

    PLAIN = "plain"
    REPLY_LOST = "reply lost"
    REPLY_LATE = "reply late"
    KILLED_PARTIAL = "killed with partial fill"
    LATE_FAILED = "late FAILED"


FAULT_BY_WEATHER = {
    Weather.REPLY_LOST: Fault.DROP_REPLY,
    Weather.REPLY_LATE: Fault.LATE_REPLY,
    Weather.KILLED_PARTIAL: Fault.KILLED_PARTIAL,
    Weather.LATE_FAILED: Fault.FAILED,
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
    weather: Weather = Weather.PLAIN
    ordering: str = ""
    """One of the wrong ones; empty: ours."""
    must_find: Finding | None = None
    """A control's: without it the matrix would not notice such a fault."""

    @property
    def name(self) -> str:
        control = f" ({self.ordering})" if self.ordering else ""
        return f"{self.boundary.name}, {self.recovery}, {self.weather}{control}"

    @property
    def signal(self) -> signal.Signals:
        return signal.SIGSTOP if self.recovery is Recovery.ZOMBIE else signal.SIGKILL

    @property
    def outcome(self) -> OrderState:
        return OrderState.FAILED if self.weather is Weather.LATE_FAILED else OrderState.CONFIRMED


def cell(boundary: str, recovery: Recovery = Recovery.RESTART, weather: Weather = Weather.PLAIN) -> Cell:
    return Cell(boundary=BOUNDARIES[boundary], recovery=recovery, weather=weather)


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
    cell("executor: sent post", weather=Weather.REPLY_LOST),
    cell("executor: after post", weather=Weather.KILLED_PARTIAL),
    cell("executor: after produce OrderReported"),
    cell("executor: before post", Recovery.ZOMBIE),
    cell("executor: uncommitted book the trade", Recovery.REBALANCE),
    cell("ingest: after record the trade"),
    cell("preflight: uncommitted record the verdict"),
    *CONTROLS,
)
"""One of each kind, the controls among them: what fits into a test run."""


def full() -> Iterator[Cell]:
    """Every boundary of every service under all recoveries, and those of the executor in all weathers; then the controls."""
    for recovery in Recovery:
        yield from (Cell(boundary=boundary, recovery=recovery) for boundary in BOUNDARIES.values())
    for weather in FAULT_BY_WEATHER:
        for recovery in Recovery:
            for boundary in BOUNDARIES.values():
                if boundary.point.service == "executor" and not (weather is Weather.LATE_FAILED and boundary.point.needs_chain):
                    yield Cell(boundary=boundary, recovery=recovery, weather=weather)
    yield from CONTROLS
