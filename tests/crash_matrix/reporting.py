"""How many cells passed, and which did not? As tables for a terminal."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from rich.table import Table

from tests.crash_matrix.cells import VenueFault
from tests.crash_matrix.playing import Result


def table_of_boundaries(results: Sequence[Result]) -> Table:
    """Boundaries by recovery and weather."""
    columns = list(
        dict.fromkeys(
            (result.cell.recovery, result.cell.venue_fault)
            for result in results
            if not result.cell.ordering
        )
    )
    table = Table("boundary", *(f"{recovery}\n{weather}" for recovery, weather in columns))
    rows: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for result in results:
        if not result.cell.ordering:
            mark = "ok" if result.passed else "[red]FAIL[/]"
            rows[result.cell.boundary.name][result.cell.recovery, result.cell.venue_fault] = mark
    for name, marks in rows.items():
        table.add_row(name, *(marks.get(column, "") for column in columns))
    return table


def table_of_counts(results: Sequence[Result]) -> Table:
    """Services and recoveries by weather: passed of played."""
    table = Table("service", "recovery", *VenueFault)
    rows: dict[tuple[str, str], dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if not result.cell.ordering:
            rows[result.cell.boundary.point.service, result.cell.recovery][
                result.cell.venue_fault
            ].append(result)
    for (service, recovery), by_weather in rows.items():
        table.add_row(service, recovery, *(_of(by_weather[weather]) for weather in VenueFault))
    return table


def _of(results: Sequence[Result]) -> str:
    return f"{sum(result.passed for result in results)} of {len(results)}" if results else ""


def verdicts(results: Sequence[Result]) -> Iterable[str]:
    """What the controls have shown, and how many cells passed."""
    for result in results:
        if result.cell.ordering:
            told = "found, as it must be" if result.passed else "NOT FOUND: the matrix is blind"
            yield f"control '{result.cell.ordering}': {result.cell.must_find} {told}"
    yield f"{_of(results)} cells passed in {sum(result.seconds for result in results)} s of play"
