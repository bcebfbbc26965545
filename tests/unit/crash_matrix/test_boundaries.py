"""The matrix's table is true: what it wraps exists, and each boundary is one place."""

import inspect

import pytest

from tests.crash_matrix.boundaries import BOUNDARIES, POINTS, Point
from tests.crash_matrix.cells import full
from tests.crash_matrix.launch import find
from tools.pipeline.parts import SERVICES


@pytest.mark.parametrize(
    "point", POINTS, ids=lambda point: f"{point.service}: {point.name}, {point.where}"
)
def test_what_the_matrix_wraps_exists(point: Point) -> None:
    owner, name = find(point.where)

    assert inspect.isfunction(getattr(owner, name))


def test_each_boundary_has_a_name_of_its_own_and_no_service_is_left_out() -> None:
    assert len(BOUNDARIES) == sum(len(point.moments) for point in POINTS)
    assert {point.service for point in POINTS} == set(SERVICES)


def test_no_cell_is_played_twice() -> None:
    names = [cell.name for cell in full()]

    assert len(names) == len(set(names))
