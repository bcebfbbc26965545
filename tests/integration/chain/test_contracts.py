"""The committed bytecode is what the committed Solidity compiles to."""

import shutil
import subprocess
from pathlib import Path

import pytest

from services.paper_venue.chain.artifacts import COMPILED_FOLDER
from shared.chain import snapshot_code
from tools.stack.errors import StackError
from tools.stack.npm import find_npm

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SOURCES = Path(__file__).parents[3] / "contracts"


@pytest.fixture
def npm() -> list[str]:
    try:
        return find_npm()
    except StackError as missing:
        pytest.skip(str(missing))


def _node(npm: list[str]) -> str:
    """The node of this npm: npm_command returns an npm of the path, or [node, npm's script]."""
    node = npm[0] if len(npm) > 1 else shutil.which("node")
    if node is None:
        pytest.skip("there is an npm but no node")
    return node


def _run(command: list[str], *, cwd: Path) -> None:
    result = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_recompiling_gives_the_committed_bytecode(npm: list[str], tmp_path: Path) -> None:
    project = tmp_path / "contracts"
    shutil.copytree(SOURCES, project, ignore=shutil.ignore_patterns("node_modules"))
    compiled = tmp_path / "compiled"

    _run(
        [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"], cwd=project
    )
    _run([_node(npm), "compile.mjs", str(compiled)], cwd=project)

    committed = {path.name: path.read_text() for path in COMPILED_FOLDER.iterdir()}
    recompiled = {path.name: path.read_text() for path in compiled.glob("*.json")}
    assert recompiled == committed
    assert (compiled / "snapshot_code.py").read_text() == Path(snapshot_code.__file__).read_text()
