"""Are all of Kafka's jars here, each with the hash that the lock file has for it?"""

from __future__ import annotations

import asyncio
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext

from tools.stack.cache import Cache, require_space, sha256_of
from tools.stack.errors import StackError

LOCK_FILE = Path(__file__).parent / "jgo.lock.toml"
DOWNLOAD_MEGABYTES = 120
DOWNLOADS_AT_ONCE = 8
ATTEMPTS = 3
TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One Maven artifact, pinned; `sha256` in hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def read_lock(lock_file: Path = LOCK_FILE) -> tuple[Jar, ...]:
    """Return the jars of the lock file, in its order, which is the class path's."""
    dependencies = tomllib.loads(lock_file.read_text())["dependencies"]
    return tuple(
        Jar(
            group=entry["groupId"],
            artifact=entry["artifactId"],
            version=entry["version"],
            sha256=entry["sha256"],
        )
        for entry in dependencies
    )


def lock_id(lock_file: Path = LOCK_FILE) -> str:
    """Return a short name for this very set of jars."""
    return sha256_of(lock_file)[:16]


def missing_from(folder: Path, jars: tuple[Jar, ...]) -> tuple[Jar, ...]:
    """Return the jars that are absent from the folder or differ from their hash."""
    return tuple(jar for jar in jars if not _is_intact(folder / jar.file_name, jar))


async def install(cache: Cache) -> tuple[Path, ...]:
    """Return the paths of Kafka's jars, each checked by its hash, after downloading those that are
    missing.

    Raises:
        StackError: no room, no network, or a download whose hash is wrong.
    """
    folder = cache.folder / "kafka" / lock_id() / "jars"
    jars = read_lock()
    async with cache.locked("kafka-jars"):
        missing = await asyncio.to_thread(missing_from, folder, jars)
        if missing:
            require_space(
                folder,
                megabytes=DOWNLOAD_MEGABYTES,
                purpose=f"downloading {len(missing)} jars of Apache Kafka",
            )
            given_up = threading.Event()
            try:
                await asyncio.to_thread(_download_all, cache, missing, folder, given_up)
            finally:
                given_up.set()
    return tuple(folder / jar.file_name for jar in jars)


def _is_intact(path: Path, jar: Jar) -> bool:
    return path.is_file() and sha256_of(path) == jar.sha256


def _download_all(
    cache: Cache, jars: tuple[Jar, ...], folder: Path, given_up: threading.Event
) -> None:
    for ahead_of_time in folder.parent.glob("*.aot"):
        ahead_of_time.unlink()  # it knows the jars by their times, and would never be used again
    with cache.staging() as staging, ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as threads:
        list(threads.map(lambda jar: _download(jar, staging, folder, given_up), jars))


def _download(jar: Jar, staging: Path, folder: Path, given_up: threading.Event) -> None:
    reason = "interrupted"
    for attempt in range(1, ATTEMPTS + 1):
        if given_up.is_set():
            break
        try:
            downloaded = _fetch(jar, staging / f"{jar.artifact}-{attempt}")
        except (
            OSError,
            RuntimeError,
        ) as error:  # requests' errors are OSErrors; RuntimeError is jgo's "not found"
            reason = str(error)
            continue
        if _is_intact(downloaded, jar):
            downloaded.rename(folder / jar.file_name)
            return
        reason = f"its SHA-256 is {sha256_of(downloaded)}, the lock wants {jar.sha256}"
    raise StackError(
        f"cannot download {jar.group}:{jar.artifact}:{jar.version} (the first start needs the network): {reason}"
    )


def _fetch(jar: Jar, repository: Path) -> Path:
    # A repository of its own for each attempt: jgo would take what an interrupted download left for
    # the whole file.
    remotes = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    context = MavenContext(
        repo_cache=repository, local_repos=[], remote_repos=remotes, timeout=TIMEOUT_SECONDS
    )
    path: Path = (
        context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    )
    return path
