"""The short form of the crash matrix: one cell of each kind, and the two wrong orderings that it
must find.
"""

from collections.abc import Iterator

import pytest

from tests.crash_matrix.cells import SHORT, Cell
from tests.crash_matrix.playing import Matrix, matrix_on
from tools.stack.background import BackgroundLoop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def matrix(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    with background.entered(
        matrix_on(tmp_path_factory.mktemp("matrix") / "run", background, circles=len(SHORT))
    ) as matrix:
        yield matrix


@pytest.mark.parametrize("cell", SHORT, ids=lambda cell: cell.name)
async def test_what_died_there_lost_and_doubled_nothing_and_a_wrong_ordering_is_found(
    matrix: Matrix, cell: Cell
) -> None:
    result = await matrix.play(cell)

    assert result.passed, "\n".join(map(str, result.found))
