"""Activity rows are lost, doubled, delayed or swapped while a fault is on."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.paper_venue.faults.activity_rows import ActivityRowFaults
from services.paper_venue.faults.catalogue import Fault, FaultOptions, Faults

SHARES = st.decimals("0.1", "1", places=1)


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"proxyWallet": "0xA" if number % 2 else "0xB", "number": number} for number in range(count)
    ]


def sent_rows(faults: Faults, count: int) -> list[tuple[int, Decimal]]:
    """(number, delay in seconds) of the rows sent of ``count`` rows, including one held last."""
    row_faults = ActivityRowFaults(faults)
    sent = list(row_faults.apply(rows(count)))
    return [
        (int(row["number"]), late)
        for row, late in [*sent, *((held, Decimal(0)) for held in row_faults.release_held())]
    ]


def with_fault(fault: Fault, **options: Any) -> Faults:
    faults = Faults()
    faults.set({fault: FaultOptions(**options)})
    return faults


def test_without_a_fault_rows_are_unchanged() -> None:
    assert sent_rows(Faults(), 3) == [(0, Decimal(0)), (1, Decimal(0)), (2, Decimal(0))]


def test_rows_out_of_order_are_swapped_with_the_next_row() -> None:
    assert [number for number, _ in sent_rows(with_fault(Fault.ROWS_OUT_OF_ORDER), 5)] == [
        1,
        0,
        3,
        2,
        4,
    ]


def test_doubled_rows_are_sent_twice() -> None:
    assert [number for number, _ in sent_rows(with_fault(Fault.ROWS_DOUBLED), 2)] == [0, 0, 1, 1]


def test_missing_rows_are_never_sent() -> None:
    assert sent_rows(with_fault(Fault.ROWS_MISSING, only="0xa"), 4) == [
        (0, Decimal(0)),
        (2, Decimal(0)),
    ]


def test_late_rows_are_sent_after_the_configured_seconds() -> None:
    assert sent_rows(with_fault(Fault.ROWS_LATE, seconds="1.5", times=1), 2) == [
        (0, Decimal("1.5")),
        (1, Decimal(0)),
    ]


@given(st.integers(0, 50), SHARES, SHARES, SHARES)
def test_late_doubled_and_swapped_rows_all_arrive(
    count: int, late: Decimal, doubled: Decimal, swapped: Decimal
) -> None:
    faults = Faults()
    faults.set(
        {
            Fault.ROWS_LATE: FaultOptions(share=late),
            Fault.ROWS_DOUBLED: FaultOptions(share=doubled),
            Fault.ROWS_OUT_OF_ORDER: FaultOptions(share=swapped),
        }
    )
    assert {number for number, _ in sent_rows(faults, count)} == set(range(count))
