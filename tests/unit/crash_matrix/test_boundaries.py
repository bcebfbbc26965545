"""What the matrix wraps exists, and each boundary has one name."""

import inspect

import pytest

from services.executor.handler import Handler
from tests.crash_matrix.boundaries import BOUNDARIES, POINTS, Point
from tests.crash_matrix.cells import all_cells
from tests.crash_matrix.launch import EXCHANGE, resolve_target
from tests.crash_matrix.wrong_orderings import ORDERINGS
from tools.pipeline.parts import SERVICES


@pytest.mark.parametrize(
    "point", POINTS, ids=lambda point: f"{point.service}: {point.name}, {point.where}"
)
def test_what_the_matrix_wraps_exists(point: Point) -> None:
    owner, name = resolve_target(point.where)

    assert inspect.isfunction(getattr(owner, name))


def test_the_function_that_sends_the_venue_a_request_exists() -> None:
    owner, name = resolve_target(EXCHANGE)

    assert inspect.isfunction(getattr(owner, name))


def test_each_boundary_has_a_name_of_its_own_and_no_service_is_left_out() -> None:
    assert len(BOUNDARIES) == sum(len(point.moments) for point in POINTS)
    assert {point.service for point in POINTS} == set(SERVICES)


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_a_wrong_ordering_replaces_methods_that_the_handler_has(ordering: str) -> None:
    methods = {
        name for name, value in vars(ORDERINGS[ordering]).items() if inspect.isfunction(value)
    }

    assert methods
    assert methods <= vars(Handler).keys()


def test_no_cell_is_run_twice() -> None:
    names = [cell.name for cell in all_cells()]

    assert len(names) == len(set(names))
