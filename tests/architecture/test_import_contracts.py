"""The import contracts of pyproject.toml, tried on a small project: each sees what it is there to see."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import project

PIPELINE = ("ingest", "pricer", "preflight", "executor", "tx_monitor", "debt_recovery")
LAYERS = ("__main__", "app", "adapters", "settings", "handler", "decisions")
SHARED = ("domain", "messages", "chain", "db", "observe", "polymarket", "streams", "testing")


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """Packages of the same names, all empty, under our contracts."""
    modules = [f"services/{service}/{layer}" for service in (*PIPELINE, "paper_venue") for layer in ("__init__", *LAYERS)]
    modules += [f"shared/{package}/__init__" for package in SHARED] + [f"{root}/__init__" for root in ("services", "shared", "tools")]
    for module in modules:
        path = tmp_path / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for pure in ("market_data", "replies"):
        (tmp_path / f"shared/polymarket/{pure}.py").touch()
    (tmp_path / "pyproject.toml").write_text(project.read(Path("pyproject.toml")))
    return tmp_path


def check(folder: Path) -> tuple[int, str]:
    lint = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    ran = subprocess.run(lint, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_a_project_that_keeps_the_contracts_passes(small_project: Path) -> None:
    (small_project / "services/pricer/app.py").write_text("from services.pricer import adapters, handler, settings\nimport shared.streams")
    (small_project / "services/pricer/decisions.py").write_text("import shared.domain, shared.polymarket.replies, decimal")

    code, said = check(small_project)

    assert code == 0, said


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("services/pricer/handler.py", "services.ingest.decisions", "services do not import each other"),
        ("services/executor/adapters.py", "services.paper_venue.handler", "services do not import each other"),
        ("services/pricer/handler.py", "services.pricer.adapters", "only app.py composes"),
        ("services/pricer/decisions.py", "services.pricer.handler", "only app.py composes"),
        ("services/pricer/adapters.py", "services.pricer.settings", "only app.py composes"),
        ("services/pricer/decisions.py", "asyncio", "decisions and the shared core are pure"),
        ("services/pricer/decisions.py", "shared.db", "decisions and the shared core are pure"),
        ("services/pricer/decisions.py", "shared.polymarket", "decisions and the shared core are pure"),
        ("shared/polymarket/replies.py", "asyncio", "decisions and the shared core are pure"),
        ("shared/messages/__init__.py", "os", "decisions and the shared core are pure"),
        ("shared/domain/__init__.py", "shared.messages", "the domain does not know the messages"),
        ("shared/streams/__init__.py", "services.pricer", "shared never imports services or tools"),
        ("shared/db/__init__.py", "tools", "shared never imports services or tools"),
        ("services/pricer/app.py", "shared.testing", "services never import tools or what tests use"),
    ],
)
def test_an_import_that_breaks_a_contract_is_seen(module: str, imported: str, contract: str, small_project: Path) -> None:
    (small_project / module).write_text(f"import {imported}\n")

    code, said = check(small_project)

    assert code == 1
    assert f"{contract} BROKEN" in said


def test_a_service_without_one_of_its_layers_is_seen(small_project: Path) -> None:
    (small_project / "services/pricer/decisions.py").unlink()

    code, said = check(small_project)

    assert code == 1
    assert "Missing layer" in said


def test_a_module_with_no_place_in_the_layers_is_seen(small_project: Path) -> None:
    (small_project / "services/pricer/models.py").touch()

    code, said = check(small_project)

    assert code == 1
    assert "services.pricer.models" in said
