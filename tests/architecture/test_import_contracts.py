"""The import contracts of pyproject.toml detect violations in a small project."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import project

PIPELINE = ("ingest", "pricer", "preflight", "executor", "tx_monitor", "debt_recovery")
LAYERS = ("__main__", "app", "adapters", "settings", "handler", "decisions")
ROOMS = ("exchange", "lifecycle", "http", "faults", "chain", "world", "recordings", "control")
PROTOCOLS = ("clob", "sockets", "data_api", "gamma", "relayer", "polygon_node")
VENUE = ("__main__", "app", "population", "serving", "settings", "periodic", *PROTOCOLS, *ROOMS)
SHARED = ("domain", "messages", "chain", "db", "observe", "polymarket", "streams", "testing")


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A project with the same packages, all empty, and our contracts."""
    modules = [
        f"services/{service}/{layer}" for service in PIPELINE for layer in ("__init__", *LAYERS)
    ]
    modules += [f"services/paper_venue/{module}" for module in ("__init__", *VENUE)]
    modules += [f"shared/{package}/__init__" for package in SHARED] + [
        f"{root}/__init__" for root in ("services", "shared", "cli", "tools")
    ]
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
    result = subprocess.run(
        lint,
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def test_a_project_without_violations_passes(small_project: Path) -> None:
    (small_project / "services/pricer/app.py").write_text(
        "from services.pricer import adapters, handler, settings\nimport shared.streams"
    )
    (small_project / "services/pricer/decisions.py").write_text(
        "import shared.domain, shared.polymarket.replies, decimal"
    )

    code, output = check(small_project)

    assert code == 0, output


APART = "services do not import each other"
COMPOSED = "only app.py composes"
PURE = "decisions and the shared core are pure"
LOWEST = "shared never imports services, the command line or tools"
PRODUCT = "services never import the command line, tools or what tests use"
VENUE_LAYERS = "the paper venue's parts import only parts below them, and no protocol another"


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        ("services/pricer/handler.py", "services.ingest.decisions", APART),
        ("services/executor/adapters.py", "services.paper_venue.exchange", APART),
        ("services/pricer/handler.py", "services.pricer.adapters", COMPOSED),
        ("services/pricer/decisions.py", "services.pricer.handler", COMPOSED),
        ("services/pricer/adapters.py", "services.pricer.settings", COMPOSED),
        ("services/pricer/decisions.py", "asyncio", PURE),
        ("services/pricer/decisions.py", "shared.db", PURE),
        ("services/pricer/decisions.py", "shared.polymarket", PURE),
        ("shared/polymarket/replies.py", "asyncio", PURE),
        ("shared/messages/__init__.py", "os", PURE),
        ("shared/domain/__init__.py", "shared.messages", "the domain does not know the messages"),
        ("shared/streams/__init__.py", "services.pricer", LOWEST),
        ("shared/db/__init__.py", "tools", LOWEST),
        ("shared/db/__init__.py", "cli", LOWEST),
        ("services/pricer/app.py", "shared.testing", PRODUCT),
        ("services/pricer/app.py", "cli", PRODUCT),
        ("tools/__init__.py", "cli", "tools never import the command line"),
        ("services/paper_venue/exchange.py", "services.paper_venue.http", VENUE_LAYERS),
        ("services/paper_venue/clob.py", "services.paper_venue.sockets", VENUE_LAYERS),
        ("services/paper_venue/gamma.py", "services.paper_venue.data_api", VENUE_LAYERS),
        ("services/paper_venue/chain.py", "services.paper_venue.relayer", VENUE_LAYERS),
        ("services/paper_venue/world.py", "services.paper_venue.control", VENUE_LAYERS),
        ("services/paper_venue/control.py", "services.paper_venue.app", VENUE_LAYERS),
    ],
)
def test_an_import_that_violates_a_contract_is_reported(
    module: str, imported: str, contract: str, small_project: Path
) -> None:
    (small_project / module).write_text(f"import {imported}\n")

    code, output = check(small_project)

    assert code == 1
    assert f"{contract} BROKEN" in " ".join(output.split())


def test_a_service_without_one_of_its_layers_is_reported(small_project: Path) -> None:
    (small_project / "services/pricer/decisions.py").unlink()

    code, output = check(small_project)

    assert code == 1
    assert "Missing layer" in output


def test_a_module_outside_of_the_layers_is_reported(small_project: Path) -> None:
    (small_project / "services/pricer/models.py").touch()

    code, output = check(small_project)

    assert code == 1
    assert "services.pricer.models" in output
