"""Downloads match the lock files, and several processes can share the cache."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from tools.stack import npm
from tools.stack.anvil import PROGRAMS, build_options, find_package
from tools.stack.cache import Cache, require_space
from tools.stack.errors import StackError
from tools.stack.kafka.jars import Jar, find_missing, load_lock


def a_jar(content: bytes) -> Jar:
    return Jar(
        group="org.example",
        artifact="thing",
        version="1.0",
        sha256=hashlib.sha256(content).hexdigest(),
    )


def test_every_jar_of_the_lock_is_pinned_by_a_hash() -> None:
    jars = load_lock()

    assert {len(bytes.fromhex(jar.sha256)) for jar in jars} == {32}
    assert "kafka_2.13-4.3.1.jar" in {jar.file_name for jar in jars}


def test_all_jars_of_kafka_have_the_same_version() -> None:
    """log4j's own bill of materials once chose older versions of Kafka's parts."""
    assert {jar.version for jar in load_lock() if jar.group == "org.apache.kafka"} == {"4.3.1"}


def test_a_jar_that_is_absent_or_differs_is_missing(tmp_path: Path) -> None:
    jar = a_jar(b"whole")

    assert find_missing(tmp_path, (jar,)) == (jar,)
    (tmp_path / jar.file_name).write_bytes(b"who")
    assert find_missing(tmp_path, (jar,)) == (jar,)
    (tmp_path / jar.file_name).write_bytes(b"whole")
    assert find_missing(tmp_path, (jar,)) == ()


def test_the_npm_lock_names_no_address_and_pins_every_package() -> None:
    packages = json.loads((npm.HERE / "package-lock.json").read_text())["packages"]
    installed = [package for path, package in packages.items() if path]

    assert installed
    assert all(package["integrity"].startswith("sha512-") for package in installed)
    assert not any("resolved" in package for package in installed)


def test_each_pinned_chain_program_is_a_direct_dependency() -> None:
    direct = json.loads((npm.HERE / "package.json").read_text())["dependencies"]

    assert {package for package, _ in PROGRAMS.values()} <= set(direct)


def test_the_error_about_a_missing_package_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="slipstream stack fetch"):
        npm.package_folder("@gnosis.pm/safe-contracts", tmp_path)


def test_on_a_platform_without_a_pinned_chain_the_error_says_what_to_do() -> None:
    with pytest.raises(StackError, match=r"no pinned anvil for Plan9 mips.*POLYGON_RPC_URL"):
        find_package("Plan9", "mips")


def test_the_chain_mines_as_the_settings_say() -> None:
    assert build_options(port=1, mining="interval", block_seconds=0.5)[-2:] == [
        "--block-time",
        "0.5",
    ]
    assert "--no-mining" in build_options(port=1, mining="manual", block_seconds=1)
    assert {"--no-mining", "--block-time"}.isdisjoint(
        build_options(port=1, mining="automine", block_seconds=1)
    )


def test_a_full_disk_is_reported_with_the_needed_space_and_the_folder(tmp_path: Path) -> None:
    with pytest.raises(
        StackError,
        match=r"the download needs 1000000000000 MB in .* has \d+ MB left: free some space",
    ):
        require_space(tmp_path, megabytes=10**12, purpose="the download")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StackError, match=r"cannot make the folder .*file/inside for it"):
        require_space(tmp_path / "file" / "inside", megabytes=1, purpose="it")


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = Cache(tmp_path).lock("it"), Cache(tmp_path).lock("it")

    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


async def test_a_waiting_process_gets_the_lock_when_it_is_released(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    held = cache.lock("it")
    assert held.try_acquire()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_hold_for_a_moment(cache))
        assert not await cache.lock("it").acquire(within=0.01)
        held.release()

    assert waiting.result()


async def _hold_for_a_moment(cache: Cache) -> bool:
    async with cache.locked("it"):
        return not cache.lock("it").try_acquire()


def test_files_left_in_a_staging_folder_are_deleted(tmp_path: Path) -> None:
    with Cache(tmp_path).staging() as staging:
        (staging / "whole").write_text("kept")
        (staging / "partial").write_text("lost")
        (staging / "whole").rename(tmp_path / "whole")

    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_only_the_staging_folders_of_killed_processes_are_deleted(
    tmp_path: Path,
) -> None:
    abandoned = tmp_path / "staging-abandoned"
    abandoned.mkdir()

    with Cache(tmp_path).staging() as ours, Cache(tmp_path).staging() as theirs:
        assert ours.exists()
        assert theirs.exists()
        assert not abandoned.exists()
