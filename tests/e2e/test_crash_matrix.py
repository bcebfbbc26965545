"""The short crash matrix: one cell of each kind, and the two wrong orderings that it must find."""

from collections.abc import Iterator

import pytest

from tests.crash_matrix.cells import SHORT, Cell
from tests.crash_matrix.matrix import Matrix, matrix_on
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def matrix(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    with background.entered(
        matrix_on(tmp_path_factory.mktemp("matrix") / "run", background, follow_groups=len(SHORT))
    ) as matrix:
        yield matrix


@pytest.mark.parametrize("cell", SHORT, ids=lambda cell: cell.name)
async def test_a_crash_loses_and_doubles_nothing_and_a_wrong_ordering_is_found(
    matrix: Matrix, cell: Cell
) -> None:
    result = await matrix.run(cell)

    assert result.passed, "\n".join(map(str, result.problems))
