"""An installed wheel has every file that the code reads, and can start the paper venue."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.paper_venue.venue import npm_folder, terminate_at_end
from tools.stack.background import BackgroundLoop
from tools.stack.local import LocalStack
from tools.stack.settings import StackSettings

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
PACKAGES = ("cli", "services", "shared", "tools")
DEVELOPMENT_ONLY = {"tools/lock.sh"}
UNREACHABLE = ("No matching distribution found for setuptools", "Failed to establish a new")

READ_EVERYTHING = """
import importlib, json, pkgutil
from pathlib import Path

import services.paper_venue
from alembic.config import Config
from alembic.script import ScriptDirectory
from services.paper_venue.chain.artifacts import COMPILED_FOLDER, load_code
from shared.db import migrate
from tools import schemas
from tools.stack.kafka import jars, java
from tools.stack import npm

modules = [
    each.name
    for each in pkgutil.walk_packages(services.paper_venue.__path__, "services.paper_venue.")
    if not each.name.endswith("__main__")
]
for name in modules:
    importlib.import_module(name)
alembic = Config()
alembic.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
scripts = ScriptDirectory.from_config(alembic)
print(json.dumps({
    "modules": [importlib.import_module(name).__file__ for name in modules],
    "contracts": {path.stem: len(load_code(path.stem)) for path in COMPILED_FOLDER.iterdir()},
    "migrations": len(list(scripts.walk_revisions())),
    "template": (Path(scripts.dir) / "script.py.mako").is_file(),
    "schemas": sorted(path.name for path in schemas.FOLDER.glob("*.json")),
    "stack": {
        path.name: path.is_file()
        for path in (jars.LOCK_FILE, java.LOGGING, *(npm.HERE / name for name in npm.MANIFESTS))
    },
}))
"""


def tracked_files(*folders: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the tracked files, built as `pip install` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in tracked_files("pyproject.toml", "README.md", "LICENSE", *PACKAGES):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(source)]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if any(text in built.stdout + built.stderr for text in UNREACHABLE):
        pytest.skip("the package index cannot be reached: pip needs setuptools to build a wheel")
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("slipstream-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the wheel is unpacked."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def own_rpc_url(
    background: BackgroundLoop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A chain for the venue of the wheel."""
    settings = StackSettings(
        folder=tmp_path_factory.mktemp("wheel-chain"), mining="automine", durable=False
    )
    with background.entered(LocalStack(settings, parts=["chain"])) as stack:
        yield stack.rpc_url


def build_environment(installed: Path, **variables: str) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PAPER_VENUE_")
    }
    return inherited | {"PYTHONPATH": str(installed)} | variables


@contextmanager
def started_venue(installed: Path, cwd: Path, rpc_url: str) -> Iterator[dict[str, Any]]:
    """The ready line of a venue that runs from the unpacked wheel, outside the repository."""
    environment = build_environment(
        installed, PAPER_VENUE_RPC_URL=rpc_url, PAPER_VENUE_NPM_FOLDER=npm_folder()
    )
    command = [sys.executable, "-m", "services.paper_venue", "--json"]
    with (
        subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True
        ) as process,
        terminate_at_end(process),
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the venue terminate_at_end with status {process.wait()}"
        yield json.loads(line)


def test_a_wheel_has_every_tracked_file_of_its_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == set(tracked_files(*PACKAGES)) - DEVELOPMENT_ONLY


def test_the_code_of_a_wheel_finds_every_file_that_it_reads(
    installed: Path, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", READ_EVERYTHING],
        cwd=tmp_path,
        env=build_environment(installed),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["modules"]
    assert all(Path(file).is_relative_to(installed) for file in found["modules"])
    assert {"Exchange", "PaperUsd", "PositionManager", "RelayHub"} <= set(found["contracts"])
    assert all(size > 2 for size in found["contracts"].values())
    assert found["migrations"] == len(tracked_files("shared/db/migrations/versions/[0-9]*.py"))
    assert found["template"]
    assert found["schemas"] == sorted(
        Path(name).name for name in tracked_files("shared/schemas/*.json")
    )
    assert found["stack"] == dict.fromkeys(
        ["jgo.lock.toml", "log4j2.xml", "package.json", "package-lock.json", ".npmrc"], True
    )


def test_a_wheel_starts_the_paper_venue(installed: Path, tmp_path: Path, own_rpc_url: str) -> None:
    with (
        started_venue(installed, tmp_path, own_rpc_url) as facts,
        urllib.request.urlopen(f"{facts['urls']['gamma']}/markets") as answer,
    ):
        markets = json.load(answer)

    assert len(markets) == 6
