"""Builds tables of the results for a terminal."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.table import Table

from tests.crash_matrix.cells import VenueFault
from tests.crash_matrix.matrix import Result


def build_boundary_table(results: Sequence[Result]) -> Table:
    """Boundaries by recovery and fault of the venue."""
    columns = list(
        dict.fromkeys(
            (result.cell.recovery, result.cell.venue_fault)
            for result in results
            if not result.cell.ordering
        )
    )
    table = Table("boundary", *(f"{recovery}\n{venue_fault}" for recovery, venue_fault in columns))
    rows: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for result in results:
        if not result.cell.ordering:
            mark = "ok" if result.passed else "[red]FAIL[/]"
            rows[result.cell.boundary.name][result.cell.recovery, result.cell.venue_fault] = mark
    for name, marks in rows.items():
        table.add_row(name, *(marks.get(column, "") for column in columns))
    return table


def build_count_table(results: Sequence[Result]) -> Table:
    """Services and recoveries by fault of the venue: passed of run cells."""
    table = Table("service", "recovery", *VenueFault)
    rows: dict[tuple[str, str], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if not result.cell.ordering:
            rows[result.cell.boundary.point.service, result.cell.recovery][
                result.cell.venue_fault
            ].append(result)
    for (service, recovery), by_fault in rows.items():
        table.add_row(service, recovery, *(_passed_of_run(by_fault[fault]) for fault in VenueFault))
    return table


def _passed_of_run(results: Sequence[Result]) -> str:
    return f"{sum(result.passed for result in results)} of {len(results)}" if results else ""


def build_summary(results: Sequence[Result]) -> Iterable[str]:
    """Whether the controls found what they must, and how many cells passed."""
    for result in results:
        if result.cell.ordering:
            verdict = (
                "found, as it must be"
                if result.passed
                else "NOT FOUND: the matrix does not notice it"
            )
            yield f"control '{result.cell.ordering}': {result.cell.expected_finding} {verdict}"
    seconds = sum(result.seconds for result in results)
    yield f"{_passed_of_run(results)} cells passed, run in {seconds} s"
